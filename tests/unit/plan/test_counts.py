"""Each fault is counted exactly once under its own cause, wherever the operator is interrupted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_jobs import a_spec
from plan_world import World

from dtj_api.names import Cause, Component, Phase
from dtj_operator.observe.view import NodeView


def _worker(world: World) -> str:
    return next(uid for uid, pod in sorted(world.pods.items()) if pod.component == Component.WORKER)


def _store(world: World) -> str:
    return next(uid for uid, pod in world.pods.items() if pod.component == Component.STORE)


def _rank_killed(world: World) -> None:
    assert world.crash_rank(_worker(world))


def _user_error(world: World) -> None:
    assert world.crash_rank(_worker(world), exit_code=1, user_error=True)


def _pod_failed(world: World) -> None:
    world.end_pod(_worker(world), 1)


def _evicted(world: World) -> None:
    world.end_pod(_worker(world), 143, disruption="EvictionByEvictionAPI")


def _gone(world: World) -> None:
    world.vanish(_worker(world))


def _another(world: World) -> str:
    return next(uid for uid in world.launchers if uid != _worker(world))


def _another_failed(world: World) -> None:
    world.end_pod(_another(world), 1)


def _another_evicted(world: World) -> None:
    world.end_pod(_another(world), 143, disruption="EvictionByEvictionAPI")


def _another_gone(world: World) -> None:
    world.vanish(_another(world))


def _store_gone(world: World) -> None:
    world.vanish(_store(world))


def _store_failed(world: World) -> None:
    world.end_pod(_store(world), 1)


def _store_hangs(world: World) -> None:
    world.hung.add(_store(world))


def _store_out_of_reach_of_one(world: World) -> None:
    world.cut_off.add(_worker(world))
    world.tick()
    world.cut_off.clear()


def _pod_failed_after_its_peers_noticed(world: World) -> None:
    """The survivors' ranks report broken connections before the kubelet reports the pod."""
    uid = _worker(world)
    launcher = world.launchers[uid]
    assert world.crash_rank(uid, exit_code=1)
    launcher.failures.clear()
    world.reconcile()
    world.end_pod(uid, 1)


def _scaled_up(world: World) -> None:
    world.spec["workers"]["replicas"] += 1


def _scaled_down(world: World) -> None:
    world.spec["workers"]["replicas"] -= 1


def _scaled_away(world: World) -> None:
    _scaled_down(world)


def _suspended_for_a_while(world: World) -> None:
    world.spec["suspend"] = True
    world.reconcile()
    world.tick()
    world.reconcile()
    world.spec["suspend"] = False


FAULTS: dict[Callable[[World], None], Cause | None] = {
    _scaled_up: Cause.RESIZE,
    _scaled_down: Cause.RESIZE,
    _suspended_for_a_while: None,
    _rank_killed: Cause.PROCESS_SIGNAL,
    _user_error: Cause.PROCESS_EXIT,
    _pod_failed: Cause.POD_FAILED,
    _evicted: Cause.POD_EVICTED,
    _gone: Cause.GONE,
    _store_gone: Cause.STORE_LOST,
    _store_failed: Cause.STORE_LOST,
    _store_hangs: Cause.STORE_LOST,
    _store_out_of_reach_of_one: Cause.STORE_LOST,
    _pod_failed_after_its_peers_noticed: Cause.POD_FAILED,
}
INTERRUPTIONS = st.lists(st.one_of(st.just("conflict"), st.integers(0, 5)), max_size=4)


def _settle(world: World) -> None:
    def settled() -> bool:
        # Ranks train on without a store, until all have met at the next one.
        without_store = any(each.error for each in world.launchers.values())
        members = len(world.status.members)
        return (
            world.status.phase == Phase.RUNNING and members == world.spec["workers"]["replicas"] and not without_store
        )

    world.run(settled, seconds=400)
    assert settled()


@settings(max_examples=80, deadline=None)
@given(faults=st.lists(st.tuples(st.sampled_from(list(FAULTS)), INTERRUPTIONS), min_size=1, max_size=4))
def test_each_fault_is_counted_once(faults: list) -> None:
    policy = {"maxRestarts": 100, "backoff": {"initial": "1s", "max": "2s"}, "crashLoop": {"sameError": 0}}
    volume = {"volume": {"claimName": "data"}}
    spec = a_spec(workers={"replicas": 5, "minReplicas": 1}, failurePolicy=policy, checkpoint=volume)
    world = World(spec, steps=10**6)
    _settle(world)
    for fault, interruptions in faults:
        fault(world)
        for interruption in interruptions:
            if interruption == "conflict":
                world.reconcile(conflict=True)
            else:
                world.reconcile(crash_after=interruption)
        # The fault is noticed before the phase is asked for.
        world.reconcile()
        world.tick()
        world.reconcile()
        _settle(world)
    expected = Counter(cause for fault, _ in faults if (cause := FAULTS[fault]) is not None)
    assert world.status.restarts.by_cause == expected


RIGHT_AFTER: dict[Callable[[World], None], dict[Cause, int]] = {
    _scaled_up: {Cause.PROCESS_SIGNAL: 1, Cause.RESIZE: 1},
    _scaled_down: {Cause.PROCESS_SIGNAL: 1, Cause.RESIZE: 1},
    _scaled_away: {Cause.PROCESS_SIGNAL: 1, Cause.RESIZE: 1},
    _store_gone: {Cause.PROCESS_SIGNAL: 1, Cause.STORE_LOST: 1},
    _store_failed: {Cause.PROCESS_SIGNAL: 1, Cause.STORE_LOST: 1},
    _store_hangs: {Cause.PROCESS_SIGNAL: 1, Cause.STORE_LOST: 1},
    _store_out_of_reach_of_one: {Cause.PROCESS_SIGNAL: 1, Cause.STORE_LOST: 1},
    _another_failed: {Cause.PROCESS_SIGNAL: 1, Cause.POD_FAILED: 1},
    _another_evicted: {Cause.PROCESS_SIGNAL: 1, Cause.POD_EVICTED: 1},
    _another_gone: {Cause.PROCESS_SIGNAL: 1, Cause.GONE: 1},
    # What ended the pod may have ended its rank before: it is one end.
    _pod_failed: {Cause.POD_FAILED: 1},
    _evicted: {Cause.POD_EVICTED: 1},
    _gone: {Cause.GONE: 1},
    # Nothing restarts on account of it.
    _suspended_for_a_while: {},
}


@pytest.mark.parametrize("seen", [False, True], ids=["before anybody saw the rank", "once the rank was seen"])
@pytest.mark.parametrize("fault", RIGHT_AFTER, ids=lambda fault: fault.__name__.strip("_"))
def test_what_happens_right_after_a_rank_died_neither_hides_nor_doubles_it(fault, seen: bool) -> None:
    world = World(a_spec(workers={"replicas": 3, "minReplicas": 1}), steps=10**6)
    _settle(world)
    # The last worker is the one that a scale-down takes away.
    victim = max(world.launchers, key=lambda uid: world.pods[uid].index) if fault is _scaled_away else _worker(world)
    assert world.crash_rank(victim)
    for uid, launcher in world.launchers.items():
        if uid != victim:
            launcher.failures.clear()  # Only the first failure of a round is told, by the pod that saw it.
    if seen:
        world.reconcile()
    fault(world)
    world.reconcile()
    world.tick()
    world.reconcile()
    _settle(world)
    expected = dict(RIGHT_AFTER[fault])
    if seen and Cause.RESIZE in expected and fault is not _scaled_up:
        del expected[Cause.RESIZE]  # Nobody trained any more, so meeting in the new size cost nothing.
    assert world.status.restarts.by_cause == expected


@pytest.mark.parametrize("fault", [_rank_killed, _user_error, _pod_failed])
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_budget_is_spent_by_the_failure_after_the_last_allowed_one(fault, allowed: int) -> None:
    spec = a_spec(
        workers={"replicas": 2},
        failurePolicy={
            "maxRestarts": allowed,
            "backoff": {"initial": "1s", "max": "1s"},
            "crashLoop": {"sameError": 0},
        },
    )
    world = World(spec, steps=10**6)
    for number in range(allowed):
        _settle(world)
        fault(world)
        world.reconcile()
        world.tick()
        world.reconcile()
        assert not world.status.done, number
    _settle(world)
    assert world.status.restarts.counted == allowed
    fault(world)
    world.run(seconds=20)
    assert world.status.phase == Phase.FAILED
    assert world.status.restarts.counted == allowed + 1
    failed = world.status.condition("Failed")
    assert failed is not None
    assert failed.reason == "BudgetSpent"


def test_infrastructure_never_spends_the_budget() -> None:
    world = World(a_spec(workers={"replicas": 2}, failurePolicy={"maxRestarts": 0}), steps=10**6)
    for fault in [_evicted, _gone, _store_gone, _store_failed, _evicted]:
        _settle(world)
        fault(world)
        world.reconcile()
        world.tick()
    _settle(world)
    assert world.status.restarts.counted == 0
    assert world.status.restarts.excused == 5


def test_a_lost_node_is_counted_once_and_its_pods_are_forced_away() -> None:
    world = World(a_spec(workers={"replicas": 2}), steps=10**6)
    _settle(world)
    pod = world.pods[_worker(world)]
    on_it = [each for each in world.pods.values() if each.node == pod.node and each.component == Component.WORKER]
    gone_at = world.now
    world.nodes[pod.node] = NodeView(pod.node, False, gone_at)
    world.run(lambda: world.now >= gone_at + 29, seconds=60)
    assert pod.uid in world.pods
    assert not world.status.restarts.by_cause
    world.run(lambda: pod.uid not in world.pods, seconds=5)
    assert world.now - gone_at <= 32
    assert world.status.restarts.by_cause[Cause.NODE_LOST] == len(on_it)
    assert {action.grace for action, _, gone in world.deletes if gone.uid == pod.uid} == {0}
