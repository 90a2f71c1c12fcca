"""Manifests as people and charts write them: odd notations, keys without values, fields too many or of other types.

They are text, since what YAML makes of it is half of the question.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dtj_api.crd import REPOSITORY
from dtj_api.names import KIND
from dtj_api.spec import JobSpec
from dtj_api.structural import structural

Path_ = tuple[str | int, ...]
NOTATIONS = (
    *("5e-5", "1e-3", "1e1", "1E0", "2.0", "3.", "+4", "-0", "0x10", "010", "0o10", "0b11", "1_0", "00", "09", "4.5"),
    *("~", "", "null", "Null", "yes", "no", "on", "Off", "y", "N", "true", "TRUE", "tRUE", ".5", "1e-400", "1e400"),
    *("1:30", "2001-01-01", "'2'", '"1e-3"', "!!str 2", "!!int 2", "!!float 2", "!!int '3'", "12345678901234567890"),
    *(".inf", "1e20", "10m", "90s", "8Gi", "=", "<<", "[]", "{}", "[~]", "{a: }", "-1", "0.0", "1e-7", "[5e-5]"),
)
"""What may stand for a value."""


class Raw(str):
    """Text that goes into the manifest as it is."""

    __slots__ = ()


def odd_manifests(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Names and texts of manifests of one job each; the same for the same seed."""
    chance, seeds, fields = random.Random(seed), _examples(), list(_fields(structural(JobSpec), ()))
    for number in range(count):
        job = copy.deepcopy(chance.choice(seeds))
        job["metadata"] = {"name": f"odd-{number}"}
        for _ in range(chance.choice([1, 1, 2, 3])):
            _change(chance, job, fields)
        yield job["metadata"]["name"], "".join(f"{key}: {text_of(value)}\n" for key, value in job.items())


def text_of(value: Any) -> str:
    """YAML in flow style."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text_of(key)}: {text_of(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text_of, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _examples() -> list[dict[str, Any]]:
    files = sorted((REPOSITORY / "examples").glob("*.yaml"))
    found = [each for file in files for each in yaml.safe_load_all(Path(file).read_text())]
    return [each for each in found if each and each["kind"] == KIND]


def _fields(schema: dict[str, Any], at: Path_) -> Iterator[Path_]:
    """Paths of all declared fields, but for those below lists."""
    for name, inner in schema.get("properties", {}).items():
        yield (*at, name)
        yield from _fields(inner, (*at, name))


def _leaves(value: Any, at: Path_) -> Iterator[Path_]:
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*at, key)
            yield from _leaves(each, (*at, key))


def _change(chance: random.Random, job: dict[str, Any], fields: list[Path_]) -> None:
    there = list(_leaves(job["spec"], ()))
    match chance.randrange(8):
        case 0 | 1 | 2:
            _put(job["spec"], chance.choice(there), Raw(chance.choice(NOTATIONS)))
        case 3 | 4:
            _put(job["spec"], chance.choice(fields), Raw(chance.choice(NOTATIONS)))
        case 5:
            _put(job["spec"], chance.choice(fields), Raw(chance.choice(["", "~", "null"])))
        case 6:
            _put(job["spec"], chance.choice(there), None, remove=True)
        case _:
            inner = chance.choice([path for path in there if isinstance(_get(job["spec"], path), dict)])
            _put(
                job["spec"], (*inner, chance.choice(["epoch", "annotations", "0"])), Raw(chance.choice(["", "1", "{}"]))
            )


def _get(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(root: Any, path: Path_, new: Any, *, remove: bool = False) -> None:
    value: Any = root
    for key in path[:-1]:
        if isinstance(value, dict):
            value = value.setdefault(key, {})
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return
    last: Any = path[-1]
    if isinstance(value, dict) or (isinstance(value, list) and isinstance(last, int) and last < len(value)):
        if remove:
            del value[last]
        else:
            value[last] = new
