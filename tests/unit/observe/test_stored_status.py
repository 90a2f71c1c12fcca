"""A status that another version wrote: read where only more was kept, else nothing is done about its job, and said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from plan_jobs import UID, a_job

from dtj_api.names import Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import JobStatus
from dtj_operator.observe.records import JobRecord, job_record
from dtj_operator.observe.view import JobView
from dtj_operator.plan import plan

RECOVERY = {"at": "2026-01-01T00:00:00Z", "cause": "Gone", "seconds": 1}
EXCLUDED = {"until": "2100-01-01T00:00:00Z"}


def _job() -> Any:
    """A job that trains, in the figures that the API has."""
    job = a_job().replicas(2).running()
    status = job.view().status
    times = ("incarnation_at", "start_time", "resumed_at", "updated_at")
    return job.stored(status.model_copy(update={each: Timestamp(getattr(status, each)) for each in times}))


def _status(**changes: Any) -> dict[str, Any]:
    status = plan(_job().view()).status.dump()
    return {**status, "restarts": {"counted": 7, "excused": 3, "byCause": {"ProcessExit": 7, "Gone": 3}}, **changes}


def _read(status: dict[str, Any]) -> JobRecord:
    metadata = {"name": "ner", "namespace": "ml", "uid": UID, "resourceVersion": "7"}
    spec = json.loads(_job().read_spec().model_dump_json(by_alias=True, exclude_none=True))
    return job_record({"metadata": metadata, "spec": spec, "status": status})


def _view(record: JobRecord) -> JobView:
    return replace(_job().view(), status=record.status, status_error=record.status_error)


LATER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a field that is new": ({"goodput": {"ratio": 0.9}}, {}),
    "more recoveries": (
        {"recoveries": [RECOVERY | {"seconds": n} for n in range(25)]},
        {"recoveries": [RECOVERY | {"seconds": float(n)} for n in range(15, 25)]},
    ),
    "more excluded nodes": (
        {"excludedNodes": [EXCLUDED | {"name": f"n{n}"} for n in range(60)]},
        {"excludedNodes": [EXCLUDED | {"name": f"n{n}", "why": ""} for n in range(10, 60)]},
    ),
    "more and longer damages": (
        {"checkpoint": {"damaged": ["x" * 5000] * 9}},
        {"checkpoint": {"damaged": ["x" * 1024] * 5, "failed": 0}},
    ),
    "longer texts": (
        {"crashLoop": {"error": "x" * 5000, "sameStep": 2}},
        {"crashLoop": {"error": "x" * 1024, "sameStep": 2, "sameError": 0}},
    ),
    "a phase of a stretch": ({"phase": "Warming"}, {"phase": "Recovering"}),
}


@pytest.mark.parametrize("case", LATER)
def test_what_a_later_version_kept_more_of_is_cut_and_all_that_counts_is_read(case: str) -> None:
    change, kept = LATER[case]
    record = _read(_status(**change))
    assert record.status_error == ""
    stored = record.status.dump()
    usual = _read(_status()).status.dump()
    assert {key: value for key, value in stored.items() if key not in change} == {
        key: value for key, value in usual.items() if key not in change
    }
    recoveries = [{key: each[key] for key in RECOVERY} for each in stored.get("recoveries", [])]
    assert {**kept, **({"recoveries": recoveries} if recoveries else {})} == kept
    for key in kept:
        if key != "recoveries":
            assert stored[key] == kept[key]
    made = plan(_view(record))
    assert made.actions == ()
    assert (made.status.restarts.counted, made.status.incarnation, made.status.phase) == (7, 1, Phase.RUNNING)
    assert JobStatus.model_validate_json(made.status.model_dump_json(by_alias=True)) == made.status


UNREAD: dict[str, dict[str, Any]] = {
    "a phase outside a stretch": {"phase": "Queued", "resumedAt": None},
    "a phase at the end": {"phase": "Cancelled", "completionTime": "2026-01-02T00:00:00Z"},
    "more pods than a job may have": {"pods": [{"index": 0, "uid": "u"}] * 10_002},
    "more ends than a job may have": {"countedPods": ["u"] * 10_002},
    "a number that is a text": {"incarnation": "many"},
    "a list that is an object": {"members": {"0": True}},
    "a count of another kind": {"restarts": [7]},
}


@pytest.mark.parametrize("case", UNREAD)
@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.SUCCEEDED])
def test_on_a_status_that_cannot_be_read_nothing_is_made_deleted_or_written_and_it_is_said(
    case: str, phase: Phase
) -> None:
    record = _read(_status(**{"phase": phase.value, **UNREAD[case]}))
    assert "status" in record.status_error
    for suspended in (False, True):
        view = _view(record)
        made = plan(replace(view, spec=view.spec.model_copy(update={"suspend": suspended}) if view.spec else None))
        assert (made.write, made.actions) == (False, ())
        (event,) = made.events
        assert (event.type, event.reason) == ("Warning", Reason.STATUS_UNREADABLE)
        assert record.status_error in event.message


def test_no_status_at_all_is_that_of_a_new_job() -> None:
    assert (_read({}).status, _read({}).status_error) == (JobStatus(), "")
