"""The demo's progress line."""

import pytest

from dtj_api.names import Condition, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import JobCondition, JobProgress, JobStatus, Restarts, WorkerCounts
from dtj_demo.progress import fingerprint, line, span, why

NOW = 1_800_000_000.0


def condition(kind: str, value: str, reason: str, message: str = "") -> JobCondition:
    return JobCondition(type=kind, status=value, reason=reason, message=message, last_transition_time=Timestamp(NOW))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (JobStatus(), "Pending: nothing reported yet"),
        (
            JobStatus(
                phase=Phase.STARTING,
                conditions=(condition(Condition.PROGRESSING, "True", Reason.MEETING, "2 of 3 workers"),),
            ),
            "Starting: Meeting: 2 of 3 workers",
        ),
        (
            JobStatus(
                phase=Phase.RUNNING,
                progress=JobProgress(
                    step=1200, total_steps=3600, loss=0.41249, tokens_per_second=1520.4, eta=Timestamp(NOW + 185)
                ),
            ),
            "step 1,200 of 3,600, loss 0.412, 1,520 tokens/s, done in 3 min 05 s",
        ),
        (
            JobStatus(
                phase=Phase.RECOVERING,
                progress=JobProgress(step=7, eta=Timestamp(NOW + 60)),
                restarts=Restarts(counted=1, excused=1),
            ),
            "Recovering, step 7, 2 restarts",
        ),
        (JobStatus(phase=Phase.RUNNING, progress=JobProgress(step=0)), "step 0"),
    ],
)
def test_line(status: JobStatus, expected: str):
    assert line(status, NOW) == expected


def test_why_takes_what_stops_the_job_before_what_it_waits_for():
    status = JobStatus(
        conditions=(
            condition(Condition.PROGRESSING, "True", Reason.WAITING_FOR_PODS),
            condition(Condition.ADMITTED, "False", Reason.DRY_RUN_REFUSED, "no such class"),
        )
    )
    assert why(status) == "DryRunRefused: no such class"


@pytest.mark.parametrize(
    "other",
    [
        JobStatus(phase=Phase.RUNNING),
        JobStatus(incarnation=1),
        JobStatus(workers=WorkerCounts(ready=1)),
        JobStatus(progress=JobProgress(step=1)),
        JobStatus(restarts=Restarts(counted=1)),
        JobStatus(conditions=(condition(Condition.READY, "False", Reason.MEETING),)),
    ],
)
def test_a_change_is_seen(other: JobStatus):
    assert fingerprint(other) != fingerprint(JobStatus())


def test_a_new_message_alone_is_no_change():
    one, other = (JobStatus(conditions=(condition(Condition.READY, "False", "NotReady", text),)) for text in ("1", "2"))
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (7, "7 s")])
def test_span(seconds: float, text: str):
    assert span(seconds) == text
