"""What launchers may tell, with numbers at their bounds. Without pydantic, which foreign images lack."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from dtj_api import bounds
from dtj_api.decoding import Within
from dtj_api.wire import Report

SMALLEST = 5e-324
WHOLE = Within(-bounds.INT64, bounds.INT64)
MEASURED = Within(-sys.float_info.max, sys.float_info.max)


def numbers_of(kind: Any, where: str = "") -> dict[str, Any]:
    """The type of each field that is a number, as declared, by its path; of a list those of its first entry."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        path, bare = f"{where}{name}", _bare(hint)[0]
        if get_origin(bare) is tuple:
            path, bare = f"{path}.0", _bare(get_args(bare)[0])[0]
        if is_dataclass(bare):
            found |= numbers_of(bare, f"{path}.")
        elif bare in (int, float):
            found[path] = hint
    return found


def edges_of(hint: Any) -> tuple[float, ...]:
    """The numbers at the bounds of such a field, as it is read."""
    kind, span = _bare(hint)
    span = span or (WHOLE if kind is int else MEASURED)
    return tuple(kind(each) for each in (span.least, *((SMALLEST,) if kind is float else ()), span.most))


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """A part of a report whose numbers are at their bounds or, where they may be, not told."""
    told: dict[str, st.SearchStrategy[Any]] = {}
    for name, hint in numbers_of(kind).items():
        may_lack = get_origin(hint) in (types.UnionType, Union)
        told[name] = st.sampled_from((*((None,) if may_lack else ()), *edges_of(hint)))
    return st.builds(kind, **told)


def told_at_the_bounds(report: Report) -> Iterator[tuple[str, Report]]:
    """The report with one number after the other at each of its bounds; and which that is."""
    for path, hint in numbers_of(Report).items():
        for edge in edges_of(hint):
            yield path, _with(report, path.split("."), edge)


def _with(whole: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if isinstance(whole, tuple):
        return (_with(whole[0], rest, value), *whole[1:])
    return replace(whole, **{name: _with(getattr(whole, name), rest, value) if rest else value})


def _bare(hint: Any) -> tuple[Any, Any]:
    """A type without None and without its limit, and that."""
    limit = None
    while get_origin(hint) in (Annotated, types.UnionType, Union):
        if get_origin(hint) is Annotated:
            hint, limit = get_args(hint)[:2]
        else:
            (hint,) = [each for each in get_args(hint) if each is not types.NoneType]
    return hint, limit
