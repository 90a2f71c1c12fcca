"""What all models of the API have in common, and how their errors are told.

A manifest is read twice: by the API server, from the schema that is generated out of these models, and by the operator
and `dtj run` from the models themselves. The trap is that the two drift apart: so each rule that the schema cannot say
with a type stands beside its validator, with one text for both.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from . import bounds
from .nulls import without_nulls

IMMUTABLE = "cannot be changed once the job exists; make a new job"
"""Ends the message of a rule for a field that never changes."""
DnsName = Annotated[str, Field(min_length=1, max_length=253, pattern="^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
"""Name of another object."""
STORED = "stored"
"""Validation context of what the API server holds: a rule that is newer than the object may be left to its use."""
M = TypeVar("M", bound=BaseModel)


class ApiModel(BaseModel):
    """Part of a spec: frozen, camelCase in manifests, snake_case in Python; unknown fields and other types refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        strict=True,
    )

    def dump(self) -> dict[str, Any]:
        """The manifest's form: camelCase, JSON types, None left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """Part of a status. Unknown fields are ignored: an operator rolled back must read its successor's status."""

    model_config = ConfigDict(extra="ignore", strict=False)


class Rule(NamedTuple):
    """A rule between fields, as the API server checks it. Its message is the validator's message too."""

    cel: str
    message: str
    path: str = ""
    """Field below the rule's own that the error names, for instance `.minReplicas`."""

    def schema(self) -> dict[str, Any]:
        """The entry of x-kubernetes-validations."""
        entry: dict[str, Any] = {"rule": self.cel, "message": self.message}
        if self.path:
            entry["fieldPath"] = self.path
        return entry


def rules(*all_rules: Rule) -> dict[str, Any]:
    """`json_schema_extra` of a field that has rules; the generated schema carries them."""
    return {"x-kubernetes-validations": [rule.schema() for rule in all_rules]}


def with_rules(*all_rules: Rule) -> ConfigDict:
    """`model_config` of a model with rules between its fields."""
    return ConfigDict(json_schema_extra=rules(*all_rules))


class ManifestError(ValueError):
    """A manifest that the models refuse. The text has one line a mistake: field, what is wrong, what to write."""


def read(model: type[M], raw: Any, where: str, context: str = "") -> M:
    """Read one model from a manifest's part.

    Args:
        model: the class to build.
        raw: the part, as YAML or JSON gave it.
        where: its path in the manifest, for instance `spec`; errors begin with it.
        context: `STORED`, or nothing.

    Raises:
        ManifestError: one line for each mistake; or it is nested too deep to be looked at.
    """
    if (levels := _levels(raw)) > bounds.DEPTH:
        raise ManifestError(bounds.too_deep(where, levels))
    try:
        return model.model_validate(without_nulls(raw, model), by_alias=True, by_name=False, context=context)
    except ValidationError as error:
        raise ManifestError("\n".join(_line(where, detail) for detail in error.errors(include_url=False))) from None


def _levels(raw: Any) -> int:
    """Levels of objects and lists within each other; counting ends soon after there are too many."""
    levels, layer = 0, [raw]
    while levels <= bounds.DEPTH and (
        layer := [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list)]
    ):
        levels += 1
        layer = [inner for each in layer for inner in each]
    return levels


def _line(where: str, detail: Any) -> str:
    path = where
    for part in detail["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown field; check its spelling and its indentation"
    if detail["type"] == "missing":
        return f"{path}: required, but missing"
    text = detail["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(detail["input"], dict | list) else f" (found {detail['input']!r})"
    return f"{path}: {text}{shown}"
