"""Write docs/manifest.md from the models of the API, so that the reference cannot say what the code does not.

Run as a program it writes the page; a test compares the page with what this gives.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from dtj_api import names
from dtj_api.spec import OBJECT_RULES, JobSpec
from dtj_api.status import JobStatus

PAGE = pathlib.Path(__file__).with_name("manifest.md")
HEAD = f"""<!-- Made by docs/reference.py from the models in operator/dtj_api. Change those, then run: make generate -->
# Manifest reference

`apiVersion: {names.API_VERSION}`, `kind: {names.KIND}`, short name `{names.SHORT_NAME}`. A job's name is a
DNS label of at most {names.MAX_JOB_NAME} characters. What the tables below refuse is refused at apply, with the field's
path and what to write instead; what only the cluster can know becomes the condition `Admitted=False`.

Durations are strings with units, largest first: `90s`, `10m`, `1h30m`, `500ms`. Memory sizes are as in Kubernetes:
`8Gi`.
"""
Schema = dict[str, Any]
Resolve = Callable[[Schema], Schema]


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    spec = JobSpec.model_json_schema(by_alias=True)
    spec["x-kubernetes-validations"] += [rule.schema() for rule in OBJECT_RULES]
    parts += _sections("spec", spec)
    parts += ["## Reserved environment\n", _reserved()]
    parts += _sections("status", JobStatus.model_json_schema(by_alias=True))
    return "\n".join(parts).rstrip() + "\n"


def _reserved() -> str:
    listed = ", ".join(f"`{name}`" for name in names.RESERVED_ENV)
    return (
        "The operator, the launcher and torchrun set these in every worker. A manifest that sets one is refused:\n\n"
        f"{listed}\n"
    )


def _sections(root: str, schema: Schema) -> Iterator[str]:
    """One section for each object, depth first, in the order of the fields."""
    definitions = schema.get("$defs", {})

    def resolve(part: Schema) -> Schema:
        """Follow a reference and look through `or null`; what stands beside the reference wins."""
        beside = {key: value for key, value in part.items() if key not in ("$ref", "anyOf", "allOf")}
        if "$ref" in part:
            return {**definitions[part["$ref"].rsplit("/", 1)[1]], **beside}
        for group in ("anyOf", "allOf"):
            choices = [choice for choice in part.get(group, ()) if choice.get("type") != "null"]
            if len(choices) == 1:
                return {**resolve(choices[0]), **beside}
        return part

    def walk(path: str, part: Schema, depth: int) -> Iterator[str]:
        yield f"{'#' * min(depth, 4)} `{path}`\n"
        yield f"{_one_line(part.get('description', ''))}\n"
        yield "| field | type | default | meaning |\n|---|---|---|---|"
        nested = []
        for name, raw in part["properties"].items():
            field = resolve(raw)
            yield _row(name, field, raw, required=name in part.get("required", ()), resolve=resolve)
            item = resolve(field.get("items", {})) if field.get("type") == "array" else {}
            if name == "template":
                continue  # A type of Kubernetes, of which the schema declares only what rules look at.
            if _has_fields(field):
                nested.append((f"{path}.{name}", field))
            elif _has_fields(item):
                nested.append((f"{path}.{name}[]", item))
        yield ""
        refusals = [rule["message"] for rule in part.get("x-kubernetes-validations", ())]
        if refusals:
            yield "Refused with these words:\n"
            yield "".join(f"- {_one_line(message)}\n" for message in refusals)
        for name, field in nested:
            yield from walk(name, field, depth + 1)

    yield from walk(root, resolve(schema), 2)


def _has_fields(field: Schema) -> bool:
    return bool(field.get("properties")) and not _is_foreign(field)


def _is_foreign(field: Schema) -> bool:
    return bool(field.get("x-kubernetes-preserve-unknown-fields"))


def _row(name: str, field: Schema, raw: Schema, *, required: bool, resolve: Resolve) -> str:
    if required:
        default = "required"
    elif raw.get("default") is None or isinstance(raw["default"], dict) or raw["default"] == []:
        default = ""
    else:
        default = f"`{json.dumps(raw['default']).strip(chr(34))}`" if raw["default"] != "" else ""
    meaning = _one_line(raw.get("description") or field.get("description", ""))
    return f"| `{name}` | {_type(field, resolve)} | {default} | {meaning} |"


def _type(field: Schema, resolve: Resolve) -> str:
    if field.get("enum"):
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        return " or ".join(_type(resolve(choice), resolve) for choice in field["anyOf"] if choice.get("type") != "null")
    match field.get("type"):
        case "array":
            return f"list of {_type(resolve(field.get('items', {})), resolve)}"
        case "object" if _is_foreign(field):
            return "object of Kubernetes"
        case "object":
            return "object" if field.get("properties") else "map of strings"
        case "integer" | "number" as kind:
            return f"{kind}{_bounds(field)}"
        case "string" if field.get("format") == "date-time":
            return "time"
        case "string" if "ms)?$" in field.get("pattern", ""):
            return "duration"
        case "string" if "Ki|Mi" in field.get("pattern", ""):
            return "memory size"
        case kind:
            return str(kind)


def _bounds(field: Schema) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    # The largest 32-bit number is a limit of the wire, not one that a reader needs.
    high = None if high is not None and high >= 2**31 - 1 else high
    match low, high:
        case None, None:
            return ""
        case _, None:
            return f", {'above' if 'exclusiveMinimum' in field else 'at least'} {low:.10g}"
        case None, _:
            return f", at most {high:.10g}"
        case _:
            return f", {low:.10g} to {high:.10g}"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
