"""Keys without a value, as charts render them: what the API server makes of `env:` or `minReplicas:`.

It takes a null for absent where the schema declares the field, in lists and maps too, and fills in the default; an item
of a list that is null is an error, and a field that is not declared is unknown whatever its value. What the schema
preserves goes on to a pod, where null means absent again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from .structural import PRESERVE, Schema, structural

_ANYTHING: Schema = {PRESERVE: True}


def without_nulls(raw: Any, model: type[BaseModel]) -> Any:
    """A copy of a part of a manifest without the nulls that mean absent.

    Args:
        raw: the part, as YAML or JSON gave it.
        model: what it is read with.
    """
    return _without(raw, _schema(model))


@cache
def _schema(model: type[BaseModel]) -> Schema:
    return structural(model, defaults=False)


def _without(raw: Any, schema: Schema) -> Any:
    if isinstance(raw, dict):
        inner = {key: _of_field(key, schema) for key in raw}
        return {
            key: _without(value, inner[key] or {})
            for key, value in raw.items()
            if value is not None or inner[key] is None
        }
    if isinstance(raw, list):
        items = _ANYTHING if PRESERVE in schema else schema.get("items", {})
        return [_without(item, items) for item in raw]
    return raw


def _of_field(key: str, schema: Schema) -> Schema | None:
    """The schema of a field; None where it is not declared and not preserved."""
    declared: Schema | None = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
    return declared or (_ANYTHING if PRESERVE in schema else None)
