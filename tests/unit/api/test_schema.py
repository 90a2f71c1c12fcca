"""The generated schema says what the models say, in the forms that the API server knows."""

from __future__ import annotations

from typing import Annotated, Any

import jsonschema
import manifest_table
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi import json_schema, walk
from pydantic import BaseModel, Field
from spec_values import LEAST, VALUES

from dtj_api import names
from dtj_api.base import ManifestError, read
from dtj_api.crd import CHART_FILE, CRD_FILE, REPOSITORY, crd, render, schema
from dtj_api.spec import JobSpec
from dtj_api.structural import PRESERVE, RULES, SchemaError, structural

SPEC = schema()["properties"]["spec"]
VALIDATOR = jsonschema.Draft202012Validator(json_schema(SPEC))
MESSAGES = [rule["message"] for _, each in walk(SPEC) for rule in each.get(RULES, [])]


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A small or a full good spec with one or two fields set: more mistakes at once would hide each other."""
    spec = draw(st.sampled_from([LEAST, manifest_table.base()["spec"]]))
    paths = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=2, unique=True))
    values = {f"spec.{path}": draw(st.sampled_from(VALUES[path])) for path in paths}
    changed: dict[str, Any] = manifest_table.changed({"spec": spec}, manifest_table.Change(set=values))["spec"]
    return changed


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return value


def _refusal(spec: Any) -> str:
    try:
        read(JobSpec, spec, "spec")
    except ManifestError as error:
        return str(error)
    return ""


@settings(max_examples=500, deadline=None)
@given(specs())
def test_models_and_schema_agree(spec: dict[str, Any]) -> None:
    """The API server drops nulls; what its types let through and the models refuse is refused by one of its rules."""
    refusal = _refusal(spec)
    by_types = list(VALIDATOR.iter_errors(_without_nulls(spec)))
    if by_types:
        assert refusal, [each.message for each in by_types]
    elif refusal:
        assert [line for line in refusal.splitlines() if not any(text in line for text in MESSAGES)] == []


@settings(max_examples=200, deadline=None)
@given(specs())
def test_what_the_models_read_they_write_and_the_schema_takes(spec: dict[str, Any]) -> None:
    if _refusal(spec):
        return
    written = read(JobSpec, spec, "spec").dump()
    VALIDATOR.validate(written)
    assert read(JobSpec, written, "spec") == read(JobSpec, spec, "spec")


def test_defaults_of_the_schema_are_those_of_the_models() -> None:
    defaults = {path: each["default"] for path, each in walk(SPEC) if "default" in each}
    spec = read(JobSpec, LEAST, "spec").dump()
    for path, default in defaults.items():
        at: Any = spec
        for part in path.strip(".").split("."):
            at = at.get(part) if isinstance(at, dict) else None
        if at is not None:
            assert at == default, path
    assert defaults[".rendezvous.joinTimeout"] == "10m"
    assert defaults[".failurePolicy"]["backoff"] == {"initial": "1s", "max": "5m"}


def test_nothing_is_written_into_the_template() -> None:
    template = SPEC["properties"]["workers"]["properties"]["template"]
    assert [path for path, each in walk(template) if "default" in each] == []
    objects = [each for path, each in walk(template) if each.get("type") == "object"]
    assert all(each.get(PRESERVE) for each in objects)


def test_schema_is_structural() -> None:
    forbidden = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "const", "prefixItems", "uniqueItems", "title"}
    for path, each in walk(schema()):
        assert not forbidden & each.keys(), path
        assert "type" in each or each.get("x-kubernetes-int-or-string"), path
        assert each.get("additionalProperties") is not False, path
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert each.get(bound, True) is True, path


def test_each_rule_tells_what_to_do() -> None:
    assert len(MESSAGES) > 20
    for message in MESSAGES:
        assert any(
            word in message for word in ("write", "must", "needs", "lower", "remove", "make", "set ", "name the")
        )


def test_status_has_no_defaults() -> None:
    assert [path for path, each in walk(schema()["properties"]["status"]) if "default" in each] == []


@pytest.mark.parametrize("path", [CRD_FILE, CHART_FILE], ids=str)
def test_generated_file_is_fresh(path: Any) -> None:
    assert (REPOSITORY / path).read_text() == render(), "stale: run `python -m dtj_api.crd`"


def test_crd_has_the_words_of_the_api() -> None:
    made = crd()
    version = made["spec"]["versions"][0]
    assert made["metadata"]["name"] == "distributedtrainingjobs.dtj.dev"
    assert made["spec"]["names"]["shortNames"] == [names.SHORT_NAME]
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.workers.replicas"
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert {"Phase", "Ready", "Step", "Loss", "Rate", "Restarts", "Age"} <= set(columns)
    phases = schema()["properties"]["status"]["properties"]["phase"]["enum"]
    assert phases == [phase.value for phase in names.Phase]


def test_every_column_reads_a_field_that_is_there() -> None:
    known = {path for path, _ in walk(schema())}
    for column in crd()["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = column["jsonPath"]
        assert path.split("[")[0] in known or path == ".metadata.creationTimestamp", path


class _Union(BaseModel):
    value: int | list[int]


class _Any(BaseModel):
    value: Any


class _Pair(BaseModel):
    value: tuple[int, str]


class _Above(BaseModel):
    value: Annotated[float, Field(gt=0, lt=1)]


@pytest.mark.parametrize(
    ("model", "why"),
    [(_Union, "a union of 2 types"), (_Any, "no type"), (_Pair, "prefixItems has no place")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_has_no_structural_form_is_an_error(model: type[BaseModel], why: str) -> None:
    with pytest.raises(SchemaError, match=rf"{model.__name__}\.value.*{why}"):
        structural(model)


def test_open_bounds_are_written_as_the_crd_wants_them() -> None:
    value = structural(_Above)["properties"]["value"]
    assert value == {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": True}
