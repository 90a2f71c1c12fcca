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
