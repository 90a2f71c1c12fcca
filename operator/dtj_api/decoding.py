"""JSON to dataclasses, within bounds: how a message is read, whoever sent it.

What a launcher says comes out of a pod, hence from anybody. So all that decides what may be in a message is checked
here, once, and nothing behind it looks at types, sizes or infinities again. How each class is read is worked out once
and kept. Standard library only (the launcher imports it inside foreign images).
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from . import bounds
from .nesting import depth

T = TypeVar("T")


class WireError(ValueError):
    """A message that cannot be read; the text names the field, what was found and what is expected."""


class Most(NamedTuple):
    """Annotation of a list: it has at most so many entries. Of a text: of more characters the first are read."""

    entries: int


class Within(NamedTuple):
    """Annotation of a number: outside of these it counts as not told."""

    least: float
    most: float


_Reader = Callable[[Any, str], Any]
_NOT_TOLD = object()


def decode(kind: type[T], body: bytes) -> T:
    """Read one message of a known kind.

    Unknown fields are ignored and fields with a default may be absent, so that launcher and operator of neighbouring
    versions understand each other. A number that is none, or infinite, counts as absent.

    Raises:
        WireError: longer or deeper than `bounds` allows, not JSON, a field missing, of another type or out of bounds.
    """
    name = kind.__name__
    if len(body) > bounds.REPORT_BYTES:
        raise WireError(f"{name}: {len(body)} bytes, more than {bounds.REPORT_BYTES}")
    if (levels := depth(body)) > bounds.DEPTH:
        raise WireError(f"{name}: {levels} levels within each other, more than {bounds.DEPTH}")
    try:
        raw = json.loads(body)
    except ValueError as error:
        raise WireError(f"{name}: not JSON: {error}") from None
    message: T = _reader(cast(Any, kind))(raw, name)
    return message


@cache
def _reader(kind: Any) -> _Reader:
    if is_dataclass(kind):
        return _object_reader(kind)
    bare, limits = [], []
    for each in get_args(kind) if get_origin(kind) is types.UnionType or get_origin(kind) is Union else (kind,):
        of, *more = get_args(each) if get_origin(each) is Annotated else (each,)
        bare.append(of)
        limits += more
    limit = limits[0] if limits else None
    if get_origin(bare[0]) is tuple:
        return _list_reader(_reader(get_args(bare[0])[0]), limit)
    return _scalar_reader(tuple(bare), limit)


def _object_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind, include_extras=True)
    members = [(each.name, _reader(hints[each.name]), _is_required(each)) for each in fields(kind)]

    def read(raw: Any, where: str) -> Any:
        if not isinstance(raw, dict):
            raise WireError(f"{where}: found {type(raw).__name__}, expected an object")
        known: dict[str, Any] = {}
        for name, reader, required in members:
            value = reader(raw[name], f"{where}.{name}") if name in raw else _NOT_TOLD
            if value is not _NOT_TOLD:
                known[name] = value
            elif required:
                found = "missing" if name not in raw else "not a number that can be told"
                raise WireError(f"{where}.{name}: {found}")
        return kind(**known)

    return read


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _list_reader(item: _Reader, limit: Most | None) -> _Reader:
    def read(raw: Any, where: str) -> Any:
        if not isinstance(raw, list):
            raise WireError(f"{where}: found {type(raw).__name__}, expected a list")
        if limit is not None and len(raw) > limit.entries:
            raise WireError(f"{where}: {len(raw)} entries, more than {limit.entries}")
        return tuple(item(each, f"{where}[{i}]") for i, each in enumerate(raw))

    return read


def _scalar_reader(allowed: tuple[type, ...], limit: Any) -> _Reader:
    expected = " or ".join("null" if each is types.NoneType else each.__name__ for each in allowed)
    characters = limit.entries if isinstance(limit, Most) else bounds.REPORT_TEXT
    span = limit if isinstance(limit, Within) else None

    def read(raw: Any, where: str) -> Any:
        if isinstance(raw, bool) and bool not in allowed:
            raise WireError(f"{where}: found a boolean, expected {expected}")
        if isinstance(raw, float) or (isinstance(raw, int) and float in allowed and not isinstance(raw, bool)):
            raw = _finite(raw)
            if raw is None:
                return _NOT_TOLD
        if not isinstance(raw, allowed):
            raise WireError(f"{where}: found {type(raw).__name__}, expected {expected}")
        if span is not None and isinstance(raw, int | float) and not span.least <= raw <= span.most:
            return _NOT_TOLD
        if isinstance(raw, int) and not -bounds.INT64 <= raw <= bounds.INT64:
            raise WireError(f"{where}: found a number beyond 64 bits")
        return _text(raw, characters) if isinstance(raw, str) else raw

    return read


def _finite(raw: float) -> float | None:
    try:
        value = float(raw)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _text(raw: str, characters: int) -> str:
    """As it is, or its beginning; halves of characters, which no text can be written with, are replaced."""
    return raw[:characters].encode(errors="replace").decode()
