"""What an operator writes into a status, the next one reads, also when it is older."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dtj_api.known_pods import KnownPod
from dtj_api.names import Condition, Phase
from dtj_api.scalars import Timestamp
from dtj_api.status import JobCondition, JobProgress, JobStatus, Restarts, RoundCursor


def _condition(kind: str, status: str) -> JobCondition:
    return JobCondition(type=kind, status=status, reason="R", last_transition_time=Timestamp(1_700_000_000.125))


FULL = JobStatus(
    phase=Phase.RECOVERING,
    observed_generation=3,
    conditions=(_condition(Condition.READY, "False"), _condition("example.com/Seen", "True")),
    incarnation=2,
    members=(0, 1, 3),
    counted=RoundCursor(incarnation=2, round=1),
    counted_pods=("uid-1",),
    pods=(KnownPod(index=0, uid="uid-2", incarnation=2),),
    restarts=Restarts(counted=1, excused=2, by_cause={"PodFailed": 1, "NodeLost": 2}, recent=(Timestamp(5.5),)),
    progress=JobProgress(step=10, loss=0.25),
    start_time=Timestamp(1_700_000_000),
    active_seconds=12.5,
)


@pytest.mark.parametrize("status", [JobStatus(), FULL], ids=["empty", "full"])
def test_status_goes_there_and_back(status: JobStatus) -> None:
    assert JobStatus.model_validate(status.dump()) == status


def test_written_form_is_that_of_kubernetes() -> None:
    written = FULL.dump()
    assert written["conditions"][0]["lastTransitionTime"] == "2023-11-14T22:13:20.125Z"
    assert written["startTime"] == "2023-11-14T22:13:20Z"
    assert written["restarts"]["byCause"] == {"PodFailed": 1, "NodeLost": 2}
    assert "completionTime" not in written


def test_fields_of_a_newer_operator_are_ignored() -> None:
    newer = FULL.dump() | {"goodput": {"ratio": 0.9}}
    newer["progress"] |= {"mfu": 0.4}
    assert JobStatus.model_validate(newer) == FULL


def test_status_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        FULL.incarnation = 3  # type: ignore[misc]


def test_conditions_are_found_by_type() -> None:
    assert FULL.is_true("example.com/Seen")
    assert not FULL.is_true(Condition.READY)
    assert not FULL.is_true(Condition.SUCCEEDED)
    assert FULL.condition(Condition.SUCCEEDED) is None


def test_loss_that_is_no_number_is_not_written() -> None:
    assert "loss" not in JobStatus(progress=JobProgress(loss=float("nan"))).dump()["progress"]


@pytest.mark.parametrize("phase", Phase)
def test_done_is_succeeded_or_failed(phase: Phase) -> None:
    assert JobStatus(phase=phase).done == (phase in {Phase.SUCCEEDED, Phase.FAILED})
