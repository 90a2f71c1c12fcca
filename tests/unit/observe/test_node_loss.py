"""A pod is given up with its node by two witnesses and under a brake: every combination of what they can say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job, a_pod, a_report, of

from dtj_api.names import Cause, Condition, LauncherState, Phase, Reason
from dtj_api.scalars import Duration
from dtj_api.wire import Stop
from dtj_operator.observe.node_loss import Finding, node_losses
from dtj_operator.observe.view import STORE_INDEX, Cluster, JobView, NodeView, Reported
from dtj_operator.plan import DeletePod, Plan, SendStop, plan

TOLERATE = Duration(30)
AWAY = {
    "ready": NodeView("node-b", ready=True),
    "away for 29 s": NodeView("node-b", ready=False, not_ready_since=NOW - 29, seen_at=NOW - 29),
    "away for 30 s": NodeView("node-b", ready=False, not_ready_since=NOW - 30, seen_at=NOW - 30),
    "away for long, and seen for 29 s": NodeView("node-b", ready=False, not_ready_since=NOW - 999, seen_at=NOW - 29),
    "seen for long, says a clock that is behind": NodeView(
        "node-b", ready=False, not_ready_since=NOW + 1, seen_at=NOW - 999
    ),
    "without an object for 29 s": NodeView(
        "node-b", ready=False, not_ready_since=NOW - 29, seen_at=NOW - 29, exists=False
    ),
    "without an object for 30 s": NodeView(
        "node-b", ready=False, not_ready_since=NOW - 30, seen_at=NOW - 30, exists=False
    ),
    "away for a second, and out of service": NodeView(
        "node-b", ready=False, not_ready_since=NOW - 1, seen_at=NOW - 1, out_of_service=True
    ),
}
FOR_LONG = {"away for 30 s", "without an object for 30 s", "away for a second, and out of service"}
BOTH = {"without an object for 30 s", "away for a second, and out of service"}
TOLD = {"a minute ago": NOW - 60, "longer ago": NOW - 61, "never": None}
LAUNCHER = {"answered last": None, "silent for 9 s": NOW - 9, "silent for 10 s": NOW - 10, "silent for long": NOW - 400}
HEARD = {
    "another, a minute ago": (NOW - 60, NOW - 400),
    "this one, a minute ago": (None, NOW - 60),
    "nobody for longer": (None, NOW - 61),
    "nobody ever": (None, None),
}
NODES = {"1 of 2": True, "2 of 2": True, "1 of 3": True, "2 of 3": False, "54 of 100": True, "55 of 100": False}
GIVEN_UP = {"0": True, "98": True, "99": False, "100": False}


def _view(node: str, told: str, launcher: str, heard: str, nodes: str, given_up: str, job: Job) -> JobView:
    elsewhere, own = HEARD[heard]
    away, of_all = map(int, nodes.split(" of "))
    view = _VIEW if job is _JOB else job.view()
    reports = {uid: each for uid, each in view.reports.items() if uid != "pod-1-1"}
    if own is not None:
        reports["pod-1-1"] = Reported(own, a_report(a_pod(1)))
    silent = LAUNCHER[launcher]
    return replace(
        view,
        nodes=(replace(AWAY[node], heard_elsewhere=elsewhere),),
        cluster=Cluster(nodes=of_all, away=away, told_at=TOLD[told], given_up=int(given_up)),
        unanswered={} if silent is None else {"pod-1-1": silent},
        reports=reports,
    )


_JOB = a_job().replicas(2).running()
_VIEW = _JOB.view()


@pytest.mark.parametrize("node", AWAY)
def test_a_pod_is_given_up_when_both_witnesses_say_so_and_the_brake_is_off(node: str) -> None:
    for told, launcher, heard, nodes, given_up in itertools.product(TOLD, LAUNCHER, HEARD, NODES, GIVEN_UP):
        view = _view(node, told, launcher, heard, nodes, given_up, _JOB)
        found = node_losses(view, TOLERATE)
        case = (node, told, launcher, heard, nodes, given_up)
        if node == "ready":
            assert found == {}, case
            continue
        kubelet = node in FOR_LONG and (told == "a minute ago" or "out of service" in node)
        silent = launcher in ("silent for 10 s", "silent for long")
        second = node in BOTH or (silent and heard in ("another, a minute ago", "this one, a minute ago"))
        lost = kubelet and second and NODES[nodes] and GIVEN_UP[given_up]
        finding = found["pod-1-1"]
        assert (finding.finding is Finding.LOST) is lost, case
        if not lost:
            assert finding.until is not None, case
            assert finding.until > NOW, case
        if finding.doubted:
            assert "node-b" in finding.why, case
            assert finding.reason in (Reason.UNREACHABLE, Reason.NODES_UNREACHABLE), case
        left_training = node in FOR_LONG - BOTH and not silent
        assert not left_training or finding.finding is Finding.ANSWERS, case


def _lost(made: Plan) -> list[str]:
    return [act.uid for act in of(made, DeletePod) if act.with_node]


def _condition(made: Plan, kind: Condition) -> tuple[str, str, str]:
    found = made.status.condition(kind)
    assert found is not None
    return found.status, found.reason, found.message


DOUBTED = [
    ({"heard": "nobody for longer"}, Reason.UNREACHABLE, "it may be the operator that is cut off"),
    ({"nodes": "2 of 3"}, Reason.NODES_UNREACHABLE, "2 of 3 nodes are not ready, node-b among them"),
    ({"given_up": "99"}, Reason.NODES_UNREACHABLE, "fewer than 100 pods are given up with their nodes"),
    ({"told": "longer ago"}, Reason.NODES_UNREACHABLE, "which is more than a minute ago"),
]
USUAL = {
    "node": "away for 30 s", "told": "a minute ago", "launcher": "silent for long", "heard": "another, a minute ago",
    "nodes": "1 of 3", "given_up": "98",
}  # fmt: skip


@pytest.mark.parametrize(("change", "reason", "text"), DOUBTED)
@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.RECOVERING])
def test_where_one_witness_is_doubted_nothing_goes_and_it_is_said_once_and_lifted_by_itself(
    change: dict[str, Any], reason: Reason, text: str, phase: Phase
) -> None:
    job = a_job().replicas(2).running().status(phase=phase)
    if phase is Phase.RECOVERING:
        job.says(0, state=LauncherState.MEETING)
    made = plan(_view(**{**USUAL, **change}, job=job))
    assert made.actions == ()
    assert made.status.restarts.by_cause == {}
    status, why, said = _condition(made, Condition.READY)
    assert (status, why) == ("Unknown" if phase is Phase.RUNNING else "False", reason)
    assert text in said
    assert [event.reason for event in made.events if event.type == "Warning"] == [reason]
    assert made.requeue_after is not None
    again = plan(_view(**{**USUAL, **change}, job=job.stored(made.status)))
    assert [event for event in again.events if event.type == "Warning"] == []
    lifted = plan(_view(**USUAL, job=job.stored(made.status)))
    assert _lost(lifted) == ["pod-1-1"]
    assert lifted.status.restarts.by_cause == {Cause.NODE_LOST: 1}


def test_who_answers_from_a_node_that_is_away_is_left_training() -> None:
    job = a_job().replicas(2).running()
    made = plan(_view(**{**USUAL, "node": "away for 30 s", "launcher": "answered last"}, job=job))
    assert made.actions == ()
    assert made.status.phase == Phase.RUNNING


def test_who_is_deleted_on_such_a_node_saves_first_and_then_goes() -> None:
    """Its kubelet is not there to tell it; and once it has gone nobody is there to tell of that."""
    job = a_job().replicas(2).running().change(1, deletion_at=NOW + 100)
    made = plan(_view(**{**USUAL, "launcher": "answered last", "heard": "this one, a minute ago"}, job=job))
    assert of(made, DeletePod) == []
    assert [(act.uid, act.message) for act in of(made, SendStop)] == [("pod-1-1", Stop(1, save=True))]
    assert made.requeue_after is not None
    assert made.requeue_after <= 2
    gone = plan(_view(**{**USUAL, "launcher": "silent for 10 s"}, job=job.stored(made.status)))
    assert _lost(gone) == ["pod-1-1"]
    assert gone.status.restarts.by_cause == {Cause.NODE_LOST: 1}


def test_a_pod_that_never_ran_there_waits_for_no_launcher() -> None:
    job = a_job().replicas(2).up().not_up(1)
    assert _lost(plan(_view(**{**USUAL, "launcher": "answered last"}, job=job))) == ["pod-1-1"]


@pytest.mark.parametrize("met", [True, False])
def test_a_store_goes_by_the_word_of_its_members_once_they_have_met(met: bool) -> None:
    job = a_job().replicas(2).running() if met else a_job().replicas(2).up()
    job.change(STORE_INDEX, node="node-b").change(1, node="node-a")
    made = plan(_view(**USUAL, job=job))
    assert of(made, DeletePod) == (
        [] if met else [DeletePod("ner-store", "store-1", "its end is counted (NodeLost)", 0, with_node=True)]
    )
    if met:
        unreached = job.says(0, state=LauncherState.MEETING, error="the store has not answered for 5 s")
        said = plan(_view(**USUAL, job=unreached))
        assert said.status.restarts.by_cause == {Cause.STORE_LOST: 1}


def test_of_a_large_job_fewer_than_a_hundred_go_within_a_minute() -> None:
    job = a_job().replicas(120).running()
    for index in range(120):
        job.change(index, node="node-b")
    job.node("node-b", ready=False, not_ready_since=NOW - 60)
    made = plan(job.view())
    assert len(_lost(made)) == 99
    assert made.status.restarts.by_cause == {Cause.NODE_LOST: 99}
    for index in range(99):
        job.without(index)
    waits = plan(job.stored(made.status).fields(cluster=Cluster(10, 1, NOW, given_up=99)).view())
    assert _lost(waits) == []
    job.node("node-b", ready=False, not_ready_since=NOW - 60, heard_elsewhere=NOW + 61)
    rest = plan(job.stored(waits.status).fields(cluster=Cluster(10, 1, NOW + 61)).view(NOW + 61))
    assert len(_lost(rest)) == 21
