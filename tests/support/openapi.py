"""A structural schema as plain JSON Schema, so that a validator checks offline what the API server checks by types."""

from __future__ import annotations

from typing import Any

from dtj_api.structural import PRESERVE, Schema


def json_schema(structural: Schema) -> Schema:
    """JSON Schema with the meaning that strict validation gives to a structural schema. Rules are not in it."""
    out: Schema = {key: value for key, value in structural.items() if not key.startswith("x-kubernetes-")}
    out.pop("default", None)
    for bound, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if out.get(bound) is True:
            out[bound] = out.pop(inclusive)
    if structural.get("x-kubernetes-int-or-string"):
        out["type"] = ["integer", "string"]
    if "items" in structural:
        out["items"] = json_schema(structural["items"])
    if "additionalProperties" in structural:
        out["additionalProperties"] = json_schema(structural["additionalProperties"])
    elif structural.get("type") == "object":
        out["additionalProperties"] = bool(structural.get(PRESERVE))
    if "properties" in structural:
        out["properties"] = {name: json_schema(each) for name, each in structural["properties"].items()}
    return out


def walk(schema: Schema, path: str = "") -> list[tuple[str, Schema]]:
    """All schemas inside a schema with their paths, itself first."""
    found: list[tuple[str, Any]] = [(path, schema)]
    for name, each in schema.get("properties", {}).items():
        found += walk(each, f"{path}.{name}")
    if "items" in schema:
        found += walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        found += walk(schema["additionalProperties"], f"{path}.*")
    return found
