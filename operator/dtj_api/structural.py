"""A pydantic model's JSON schema as the structural schema that a CRD must have.

The API server refuses or silently drops much of what pydantic writes: references, unions with null, `const`, numeric
`exclusiveMinimum`, `additionalProperties: false`. Each is rewritten here, and what has no structural form is an error
at generation, never a schema that says less than the model.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
RULES = "x-kubernetes-validations"
_COPIED = {
    "type",
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "description",
    PRESERVE,
    RULES,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
}
_HANDLED = {
    "$ref",
    "$defs",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "properties",
    "title",
}


class SchemaError(TypeError):
    """A model uses a type that a structural schema cannot say."""


def structural(model: type[BaseModel], defaults: bool = True) -> Schema:
    """The structural schema of a model.

    Args:
        model: the class.
        defaults: whether the API server fills in the defaults; not for a status, which the operator writes whole.

    Raises:
        SchemaError: a field's type has no structural form; the text says where.
    """
    raw = model.model_json_schema(by_alias=True)
    return _Converter(raw.get("$defs", {}), defaults).convert(raw, model.__name__)


class _Converter:
    def __init__(self, definitions: dict[str, Schema], defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def convert(self, raw: Schema, where: str) -> Schema:
        """One schema; `where` is its path, for errors."""
        raw = self._resolve(raw, where)
        unknown = raw.keys() - _COPIED - _HANDLED
        if unknown:
            raise SchemaError(f"{where}: {', '.join(sorted(unknown))} has no place in a structural schema")
        out: Schema = {key: value for key, value in raw.items() if key in _COPIED}
        if "description" in out:
            out["description"] = " ".join(out["description"].split())
        if "const" in raw:
            out["enum"] = [raw["const"]]
        for bound, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if bound in raw:
                out |= {inclusive: raw[bound], bound: True}
        if "items" in raw:
            out["items"] = self.convert(raw["items"], f"{where}[]")
        self._object(raw, out, where)
        if "type" not in out and "x-kubernetes-int-or-string" not in out:
            raise SchemaError(f"{where}: no type; a structural schema needs one for each value")
        if self._defaults and raw.get("default") is not None:
            out["default"] = _whole(raw["default"])
        return out

    def _object(self, raw: Schema, out: Schema, where: str) -> None:
        if "properties" in raw:
            out["properties"] = {
                name: self.convert(each, f"{where}.{name}") for name, each in raw["properties"].items()
            }
        additional = raw.get("additionalProperties", False)
        if additional is True:
            out[PRESERVE] = True
        elif additional:
            out["additionalProperties"] = self.convert(additional, f"{where}.*")

    def _resolve(self, raw: Schema, where: str) -> Schema:
        """Inline a reference, and a union with null or of integer and string."""
        if "$ref" in raw:
            target = self._definitions[raw["$ref"].removeprefix("#/$defs/")]
            return self._resolve({**target, **{key: value for key, value in raw.items() if key != "$ref"}}, where)
        if "anyOf" not in raw:
            return raw
        outer = {key: value for key, value in raw.items() if key != "anyOf"}
        options = [each for each in raw["anyOf"] if each.get("type") != "null"]
        if len(options) == 1:
            return self._resolve({**options[0], **outer}, where)
        if {each.get("type") for each in options} == {"integer", "string"}:
            # An enum or const of one branch would refuse the other; a rule of the field says it.
            bounds = {k: v for each in options for k, v in each.items() if k not in ("type", "enum", "const")}
            return {**outer, **bounds, "x-kubernetes-int-or-string": True}
        raise SchemaError(f"{where}: a union of {len(options)} types has no structural form")


def _whole(default: Any) -> Any:
    """A default with its own fields' defaults, as rules on it look at them; null stands for absent."""
    if isinstance(default, dict):
        return {name: _whole(value) for name, value in default.items() if value is not None}
    return default
