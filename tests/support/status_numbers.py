"""Which numbers an API server takes in a status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from dtj_api import bounds
from dtj_api.crd import schema
from dtj_api.status import JobStatus
from dtj_api.structural import Schema

_STATUS = schema()["properties"]["status"]


def refused_numbers(status: JobStatus) -> list[str]:
    """The numbers of a status for which an API server would not store it, by the CRD and the 64 bits that it has."""
    return list(_refused(json.loads(json.dumps(status.dump())), _STATUS, "status"))


def _refused(value: Any, as_told: Schema, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        known = as_told.get("properties", {})
        for name, each in value.items():
            yield from _refused(each, known.get(name) or as_told["additionalProperties"], f"{where}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _refused(each, as_told["items"], f"{where}[{number}]")
    elif as_told["type"] in ("integer", "number"):
        most = bounds.INT64 if as_told["type"] == "integer" else sys.float_info.max
        fits = isinstance(value, int) or as_told["type"] == "number"
        if not fits or not as_told.get("minimum", -most) <= value <= as_told.get("maximum", most):
            yield f"{where}: {value!r}"
