"""What a worker is, over all that its kubelet and its launcher can say; and that a job waiting for it says why."""

from __future__ import annotations

import itertools

import pytest
from plan_jobs import NO_NODE, NOT_UP, NOW, Job, a_job, a_pod, a_report, failed

from dtj_api.names import Condition, LauncherState, Phase, Reason
from dtj_api.scalars import Duration
from dtj_api.wire import Report
from dtj_operator.observe.node_loss import HERE
from dtj_operator.observe.view import JobView, PodView, Terminated
from dtj_operator.observe.worker import State, Worker, worker_of
from dtj_operator.plan import Plan, plan

POD = a_pod(1)
AGE = NOW - 90

KUBELET: dict[str, PodView | None] = {
    "no pod": None,
    "no node yet": a_pod(1, **NO_NODE),
    "unschedulable": a_pod(1, **NO_NODE, unschedulable="0/3 nodes: insufficient gpu"),
    "pulls": a_pod(1, **NOT_UP),
    "pulls, no address yet": a_pod(1, **NOT_UP, ip=""),
    "an init container runs": a_pod(1, **NOT_UP, init="fetch-data"),
    "cannot pull": a_pod(1, **NOT_UP, waiting_reason="ImagePullBackOff", waiting_message="429"),
    "cannot pull, no address": a_pod(1, **NOT_UP, ip="", waiting_reason="ErrImagePull", waiting_message="429"),
    "a Secret is missing": a_pod(1, **NOT_UP, waiting_reason="CreateContainerConfigError", waiting_message='"hf"'),
    "a word of a later kubelet": a_pod(1, **NOT_UP, waiting_reason="Whatever", waiting_message="?"),
    "an init container failed": a_pod(
        1, **{**NOT_UP, "phase": "Failed"}, init="fetch-data", init_ended=Terminated(42, message="no such bucket")
    ),
    "runs": a_pod(1, ready=False, running_since=NOW - 2),
    "runs beside a helper that cannot start": a_pod(
        1, phase="Pending", waiting_reason="ImagePullBackOff", waiting_message="429"
    ),
    "ready": POD,
    "ready no more": a_pod(1, ready=False, unready_since=NOW - 60),
    "being deleted": a_pod(1, deletion_at=NOW + 100),
    "being deleted before it ran": a_pod(1, **NOT_UP, deletion_at=NOW + 100),
    "exited 0": failed(POD, 0),
    "exited 1": failed(POD, 1),
    "drained": failed(POD, 143),
    "out of memory": failed(POD, 137, oom=True),
    "evicted": failed(POD, 137, reason="Evicted"),
    "refused by the kubelet": a_pod(1, **{**NOT_UP, "phase": "Failed", "reason": "OutOfcpu"}),
    "in a phase that nobody knows": a_pod(1, phase="Unknown"),
}
LAUNCHER: dict[str, tuple[str | None, float | None]] = {
    "was never asked": (None, None),
    "has not answered yet": (None, NOW - 3),
    "has never answered": (None, NOW - 80),
    **{f"says {state}": (state, None) for state in LauncherState},
    "said training, and missed one question": (LauncherState.TRAINING, NOW - 3),
    "said training, and is silent": (LauncherState.TRAINING, NOW - 12),
    "said training, and is silent for long": (LauncherState.TRAINING, NOW - 80),
    "said waiting, and is silent for long": (LauncherState.WAITING, NOW - 80),
}
RUNS = {"runs", "runs beside a helper that cannot start", "ready", "ready no more", "in a phase that nobody knows"}
SILENT = {
    "was never asked", "has not answered yet", "has never answered", "said training, and is silent",
    "said training, and is silent for long", "said waiting, and is silent for long",
}  # fmt: skip
LOST = {"exited 1", "drained", "out of memory", "evicted", "refused by the kubelet", "an init container failed"}


def _said(pod: PodView, state: str) -> Report:
    formed = state in (LauncherState.TRAINING, LauncherState.DONE)
    return a_report(pod, state=state, incarnation=1 if formed else 0, round_=1 if formed else 0, error="no good")


def _job(kubelet: str, launcher: str, job: Job | None = None) -> Job:
    """Worker 0 stands ready; worker 1 is as is said."""
    pod, (state, unanswered) = KUBELET[kubelet], LAUNCHER[launcher]
    job = (job or a_job().replicas(2).up()).without(1)
    if pod is None:
        return job.status(pods=())
    job.pod(pod, _said(pod, state) if state is not None else None)
    return job.fields(unanswered={} if unanswered is None else {pod.uid: unanswered})


def _row(view: JobView) -> Worker:
    pod = next(each for each in view.pods if each.index == 1)
    return worker_of(view, pod, HERE, Duration(30))


def _expected(kubelet: str, launcher: str) -> State:
    """The table, as one would tell it."""
    if kubelet in LOST:
        return State.LOST
    if kubelet == "exited 0":
        return State.DONE
    if kubelet == "ready no more" and launcher.endswith(("for long", "never answered")):
        return State.LOST
    if kubelet.startswith("being deleted") or launcher == "says draining":
        return State.LEAVING
    if kubelet in RUNS:
        if launcher in SILENT:
            return State.UP
        if launcher == "says done":
            return State.DONE
        return State.TRAINING if "training" in launcher else State.ANSWERING
    patient = {"no node yet", "pulls", "pulls, no address yet", "an init container runs"}
    return State.PENDING if kubelet in patient else State.CANNOT_START


@pytest.mark.parametrize("kubelet", [each for each in KUBELET if KUBELET[each]])
def test_both_witnesses_make_one_state_with_a_sentence(kubelet: str) -> None:
    for launcher in LAUNCHER:
        row = _row(_job(kubelet, launcher).view())
        assert row.state is _expected(kubelet, launcher), launcher
        assert "ner-worker-0001" in row.why
        assert row.answers is (row.state in (State.ANSWERING, State.TRAINING, State.DONE) and kubelet != "exited 0")
        assert row.until is None or row.until > NOW
        if row.state is State.UP:
            assert row.until is not None or row.deaf, "somebody looks again before it is told"
            assert row.unheard is (launcher in ("was never asked", "has not answered yet"))


@pytest.mark.parametrize("kubelet", KUBELET)
@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RECOVERING, Phase.RUNNING])
def test_a_job_says_why_it_waits_and_since_when(phase: Phase, kubelet: str) -> None:
    for launcher in LAUNCHER:
        job = a_job().replicas(2)
        job = _job(kubelet, launcher, (job.running() if phase is Phase.RUNNING else job.up()).status(phase=phase))
        made = plan(job.view())
        _has_a_reason(made)
        again = plan(job.stored(made.status).view(NOW + 0.5))
        _has_a_reason(again)
        for kind in (Condition.PROGRESSING, Condition.READY):
            one, other = made.status.condition(kind), again.status.condition(kind)
            assert one is not None
            assert other is not None
            assert other.last_transition_time == (NOW if one.status == other.status else NOW + 0.5), launcher


def _has_a_reason(made: Plan) -> None:
    for kind in (Condition.PROGRESSING, Condition.READY):
        found = made.status.condition(kind)
        assert found is not None
        assert found.reason in tuple(Reason)
        assert found.message


def _reason(made: Plan, kind: Condition = Condition.PROGRESSING) -> tuple[str, str, str]:
    found = made.status.condition(kind)
    assert found is not None
    return found.status, found.reason, found.message


WAITS = [
    ("unschedulable", Reason.UNSCHEDULABLE, "pod ner-worker-0001: 0/3 nodes: insufficient gpu"),
    ("cannot pull", Reason.IMAGE_PULL, "pod ner-worker-0001: ImagePullBackOff: 429"),
    ("cannot pull, no address", Reason.IMAGE_PULL, "pod ner-worker-0001: ErrImagePull: 429"),
    ("a Secret is missing", Reason.CANNOT_START, 'pod ner-worker-0001: CreateContainerConfigError: "hf"'),
    ("a word of a later kubelet", Reason.CANNOT_START, "pod ner-worker-0001: Whatever: ?"),
    ("an init container runs", Reason.WAITING_FOR_PODS, "its init container fetch-data is not through yet"),
    ("no node yet", Reason.WAITING_FOR_PODS, "pod ner-worker-0001 has no node yet"),
]


@pytest.mark.parametrize(("kubelet", "reason", "text"), WAITS)
@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RECOVERING])
def test_what_a_job_waits_for_is_what_the_kubelet_says_whatever_address_the_pod_has(
    phase: Phase, kubelet: str, reason: Reason, text: str
) -> None:
    made = plan(_job(kubelet, "was never asked", a_job().replicas(2).up().status(phase=phase)).view())
    assert _reason(made)[1] == reason
    assert text in _reason(made)[2]


@pytest.mark.parametrize("kubelet", [each for each in KUBELET if each not in RUNS | LOST | {"exited 0", "no pod"}])
def test_an_elastic_job_goes_on_without_a_worker_that_does_not_come_and_says_who(kubelet: str) -> None:
    job = a_job().replicas(2, least=1).up().status(phase=Phase.RECOVERING, incarnation_at=NOW - 30)
    made = plan(_job(kubelet, "was never asked", job).view())
    assert made.status.members == (0,)
    assert "ner-worker-0001" in _reason(made, Condition.DEGRADED)[2]
    assert next(event.reason for event in made.events if event.type == "Warning") == Reason.FEWER_WORKERS


@pytest.mark.parametrize(
    ("kubelet", "launcher"), list(itertools.product(sorted(RUNS - {"ready no more"}), sorted(SILENT)))
)
def test_nor_without_one_that_answers_nobody_once_it_had_the_time(kubelet: str, launcher: str) -> None:
    job = a_job().replicas(2, least=1).up().status(phase=Phase.RECOVERING, incarnation_at=NOW - 30)
    made = plan(_job(kubelet, launcher, job).view())
    waits = launcher in ("was never asked", "has not answered yet")
    assert made.status.members == ((0, 1) if waits else (0,))
    if waits:
        assert made.requeue_after is not None
        assert made.requeue_after <= 10


@pytest.mark.parametrize("kubelet", ["cannot pull", "an init container runs", "pulls", "a Secret is missing"])
def test_the_start_timeout_asks_who_answers_and_not_who_has_an_address(kubelet: str) -> None:
    job = a_job().replicas(2).up().spec(schedule={"startTimeout": "60s"}).status(resumed_at=NOW - 60)
    made = plan(_job(kubelet, "was never asked", job).view())
    assert made.status.phase == Phase.FAILED
    status, reason, text = _reason(made, Condition.FAILED)
    assert (status, reason) == ("True", Reason.START_TIMEOUT)
    assert "1 workers are up after 1m, and at least 2 are needed" in text
    assert "ner-worker-0001" in text


def test_an_operator_that_has_just_come_ends_no_start_and_shrinks_no_job() -> None:
    start = a_job().replicas(2).up().silent().spec(schedule={"startTimeout": "60s"}).status(resumed_at=NOW - 600)
    assert plan(start.view()).status.phase == Phase.STARTING
    elastic = a_job().replicas(3, least=1).up().status(phase=Phase.RECOVERING, incarnation_at=NOW - 600).silent()
    elastic.stands_ready(a_pod(0))
    assert plan(elastic.view()).status.members == (0, 1, 2)


@pytest.mark.parametrize("kubelet", ["cannot pull", "an init container runs", "pulls"])
def test_a_ready_spare_takes_the_place_of_one_that_has_an_address_and_does_not_come(kubelet: str) -> None:
    job = _job(kubelet, "was never asked", a_job().replicas(2).up()).spec_workers(spares=1).stands_ready(a_pod(2))
    assert plan(job.view()).status.members == (0, 2)


def _deaf(job: Job, *indices: int, since: float) -> Job:
    return job.fields(unanswered={a_pod(index).uid: NOW - since for index in indices})


NO_ANSWER = "no answer from 2 of 2 launchers on port 9400 since 2027-01-15T07:59:00Z; see network policies"


def test_launchers_that_cannot_be_reached_are_told_of_a_job_that_starts() -> None:
    job = _deaf(a_job().replicas(2).up().silent(), 0, 1, since=60)
    made = plan(job.view())
    status, reason, text = _reason(made)
    assert (status, reason) == ("False", Reason.UNREACHABLE)
    assert text.startswith(NO_ANSWER)
    assert [event.reason for event in made.events if event.type == "Warning"] == [Reason.UNREACHABLE]
    again = plan(job.stored(made.status).view(NOW + 300))
    assert [event for event in again.events if event.type == "Warning"] == []
    patient = job.stored(a_job().replicas(2).up().view().status).spec(schedule={"startTimeout": "60s"})
    assert plan(patient.view()).status.phase == Phase.FAILED


@pytest.mark.parametrize(("since", "known"), [(14, True), (15, False), (3600, False)])
def test_nobody_knows_whether_a_job_trains_whose_launchers_are_silent(since: float, known: bool) -> None:
    ready = plan(a_job().replicas(2).running().view()).status
    job = _deaf(a_job().replicas(2).running().stored(ready), 0, 1, since=since)
    made = plan(job.view())
    assert made.status.phase == Phase.RUNNING
    status, reason, text = _reason(made, Condition.READY)
    assert (status, reason) == (("True", Reason.ALL_READY) if known else ("Unknown", Reason.UNREACHABLE))
    assert known or text.startswith("no answer from 2 of 2 launchers on port 9400 since ")
    warnings = [event.reason for event in made.events if event.type == "Warning"]
    assert warnings == ([] if known else [Reason.UNREACHABLE])
    again = plan(job.stored(made.status).view(NOW + 0.5))
    assert [event for event in again.events if event.type == "Warning"] == [] or known
    heard = plan(job.stored(made.status).fields(unanswered={}).view(NOW + 1))
    assert _reason(heard, Condition.READY)[:2] == ("True", Reason.ALL_READY)
    assert (made.requeue_after is not None and made.requeue_after <= 1) is known


def test_what_is_answered_and_cannot_be_read_is_told_too() -> None:
    job = a_job().replicas(1).up().silent().fields(unreadable=(a_pod(0).uid,))
    status, reason, text = _reason(plan(job.view()))
    assert (status, reason) == ("False", Reason.UNREACHABLE)
    assert text == ("what pod ner-worker-0000 answers on port 9400 cannot be read: another version, or another program")


def test_helpers_of_a_pod_neither_make_it_unready_nor_lost() -> None:
    """One has ended and one has crashed: the pod's own Ready is False, and its phase may be Pending."""
    job = a_job().replicas(2).running().change(0, phase="Pending", waiting_reason="ErrImagePull")
    made = plan(job.view())
    assert made.status.workers.ready == 2
    assert _reason(made, Condition.READY)[:2] == ("True", Reason.ALL_READY)
    assert made.status.restarts.by_cause == {}
