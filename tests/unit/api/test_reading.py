"""A manifest that cannot be read is answered by one line a mistake, each with the field's path."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_table import base

from dtj_api.base import ManifestError, read
from dtj_api.spec import JobSpec, Workers


def _spec(**changes: Any) -> Any:
    return base()["spec"] | changes


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (None, ["spec: Input should be a valid dictionary or instance of JobSpec (found None)"]),
        ("text", ["spec: Input should be a valid dictionary or instance of JobSpec (found 'text')"]),
        (_spec(workers={}), ["spec.workers.template: required, but missing"]),
        (_spec(wrokers={}), ["spec.wrokers: unknown field; check its spelling and its indentation"]),
        (_spec(failure_policy={}), ["spec.failure_policy: unknown field; check its spelling and its indentation"]),
        (
            _spec(metrics={"interval": "5"}, lifecycle={"cleanPods": "some"}),
            [
                "spec.lifecycle.cleanPods: Input should be 'Running', 'All' or 'None' (found 'some')",
                "spec.metrics.interval: not a duration; write whole numbers with units, largest first: "
                "90s, 10m, 1h30m or 500ms (found '5')",
            ],
        ),
        (
            _spec(workers=base()["spec"]["workers"] | {"template": {"spec": {"containers": "trainer"}}}),
            ["spec.workers.template: spec.containers: Input should be a valid list (found 'trainer')"],
        ),
    ],
    ids=["nothing", "text", "missing", "misspelt", "snake case", "two mistakes", "template"],
)
def test_each_mistake_is_one_line(raw: Any, lines: list[str]) -> None:
    with pytest.raises(ManifestError) as raised:
        read(JobSpec, raw, "spec")
    assert str(raised.value).splitlines() == lines


def test_null_is_absent() -> None:
    spec = read(JobSpec, _spec(lifecycle=None, schedule={"startTimeout": None}), "spec")
    assert spec.lifecycle.clean_pods == "Running"
    assert spec.schedule.start_timeout is None


def test_nulls_in_the_containers_of_a_template_are_absent() -> None:
    """As charts render what is left empty; what the schema declares is looked at, the rest goes on to the pod."""
    empty = dict.fromkeys(["args", "env", "envFrom", "resources", "volumeMounts"])
    container = {"name": "trainer", "image": "x", **empty}
    pod = {"nodeSelector": None, "volumes": None, "initContainers": None, "containers": [container]}
    workers = {"minReplicas": None, "template": {"metadata": {"labels": None}, "spec": pod}}
    trainer = {"task": "ner", "model": {"path": "m"}, "data": {"train": "a", "dev": "b", "test": "c", "labelMap": None}}
    spec = read(JobSpec, {"workers": workers, "checkpoint": None, "trainer": trainer}, "spec")
    assert spec.workers.template == {"metadata": {}, "spec": {"containers": [{"name": "trainer", "image": "x"}]}}


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (_spec(suspended=None), "spec.suspended: unknown field; check its spelling and its indentation"),
        (_spec(workers=None), "spec.workers: required, but missing"),
    ],
)
def test_null_is_no_value_of_a_field_that_is_unknown_or_required(raw: Any, line: str) -> None:
    with pytest.raises(ManifestError) as raised:
        read(JobSpec, raw, "spec")
    assert str(raised.value) == line


def test_null_in_a_list_is_refused() -> None:
    template = {"spec": {"containers": [{"name": "trainer", "image": "x", "command": ["python", None]}]}}
    with pytest.raises(ManifestError, match=r"command\[1\]"):
        read(JobSpec, {"workers": {"template": template}}, "spec")


def test_template_is_kept_as_it_was_given() -> None:
    template = base()["spec"]["workers"]["template"]
    assert read(JobSpec, base()["spec"], "spec").workers.template == template


@pytest.mark.parametrize(("least", "effective"), [(None, 3), (2, 2)])
def test_min_replicas_follows_replicas_unless_given(least: int | None, effective: int) -> None:
    template = base()["spec"]["workers"]["template"]
    assert Workers(replicas=3, min_replicas=least, template=template).effective_min == effective


def test_job_made_anew_has_a_folder_of_its_own() -> None:
    checkpoint = read(JobSpec, _spec(checkpoint={"volume": {"claimName": "c"}}), "spec").checkpoint
    assert checkpoint is not None
    assert checkpoint.directory("ner", "0123456789abcdef") == "ner-01234567"
    assert checkpoint.every.seconds == 600
    given = read(JobSpec, base()["spec"], "spec").checkpoint
    assert given is not None
    assert given.directory("ner", "0123456789abcdef") == "runs/base"
