"""Whatever happens, in any order: the invariants hold at each step, and the job succeeds once the world lets it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plan_jobs import a_spec
from plan_world import World

from dtj_api import names
from dtj_api.known_pods import TRAINED
from dtj_api.names import Component, LauncherState, Phase
from dtj_operator.observe.view import JobView, NodeView
from dtj_operator.plan import plan

PICK = st.integers(0, 7)
LONGEST = 10.0
"""Seconds of the longest pause."""


class AnyHistory(RuleBasedStateMachine):
    """Faults of ranks, pods, nodes and the operator itself, mixed with changes of mind of the user."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(a_spec())
        self.lost: set[str] = set()
        """Worker pods that had joined and that the world took away or ended badly."""
        self.crashes = 0
        self.numbers: list[int] = []

    @initialize(replicas=st.integers(1, 3), spares=st.integers(0, 2), elastic=st.booleans())
    def begin(self, replicas: int, spares: int, elastic: bool) -> None:
        workers: dict[str, Any] = {"replicas": replicas, "spares": spares}
        if elastic:
            workers["minReplicas"] = 1
        backoff = {"initial": "1s", "max": f"{LONGEST:g}s"}
        patient = {"maxRestarts": 1000, "backoff": backoff, "crashLoop": {"sameStep": 0, "sameError": 0}}
        spec = a_spec(workers=workers, failurePolicy=patient, checkpoint={"volume": {"claimName": "c"}})
        self.world = World(spec, steps=30)

    # --- the operator -----------------------------------------------------------------------------------------------

    @rule()
    def reconcile(self) -> None:
        self.world.reconcile()

    @rule(after=st.integers(0, 4))
    def operator_dies(self, after: int) -> None:
        self.world.reconcile(crash_after=after)

    @rule()
    def somebody_else_wrote(self) -> None:
        self.world.reconcile(conflict=True)

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.tick()
            self.world.reconcile()

    @rule()
    def time_passes_without_operator(self) -> None:
        self.world.tick()

    # --- faults -----------------------------------------------------------------------------------------------------

    @rule(pick=PICK, user_error=st.booleans())
    def rank_crashes(self, pick: int, user_error: bool) -> None:
        if uid := self._worker(pick):
            self.world.crash_rank(uid, exit_code=1 if user_error else -9, user_error=user_error)

    @rule(pick=PICK)
    def pod_fails(self, pick: int) -> None:
        if uid := self._worker(pick):
            self.world.end_pod(uid, 1)

    @rule(pick=PICK)
    def pod_is_evicted(self, pick: int) -> None:
        if uid := self._worker(pick):
            self.world.end_pod(uid, 143, disruption="EvictionByEvictionAPI")

    @rule(pick=PICK)
    def pod_vanishes(self, pick: int) -> None:
        if uid := self._any(pick):
            self.world.vanish(uid)

    @rule()
    def store_dies(self) -> None:
        for uid, pod in list(self.world.pods.items()):
            if pod.component == Component.STORE and pod.phase == "Running" and pod.terminated is None:
                self.world.end_pod(uid, 1)

    @rule(grace=st.sampled_from([5, 120]))
    def store_is_deleted(self, grace: int) -> None:
        for uid, pod in list(self.world.pods.items()):
            if pod.component == Component.STORE and pod.phase == "Running" and pod.deletion_at is None:
                asked: dict[str, Any] = {"deletion_at": self.world.now + grace, "deleted_at": self.world.now}
                self.world.pods[uid] = replace(pod, **asked)

    @rule()
    def store_hangs(self) -> None:
        self.world.hung |= {uid for uid, pod in self.world.pods.items() if pod.component == Component.STORE}

    @rule(pick=PICK)
    def way_to_the_store_breaks(self, pick: int) -> None:
        if uid := self._worker(pick):
            self.world.cut_off.add(uid)

    @rule()
    def ways_to_the_store_are_mended(self) -> None:
        self.world.cut_off.clear()

    @rule(node=st.sampled_from(["node-a", "node-b"]))
    def node_goes(self, node: str) -> None:
        self.world.nodes[node] = NodeView(node, False, self.world.now)

    @rule(node=st.sampled_from(["node-a", "node-b"]))
    def kubelet_goes(self, node: str) -> None:
        self.world.nodes[node] = NodeView(node, False, self.world.now)
        self.world.kubelets_gone.add(node)

    @rule(away=st.sampled_from([0, 0, 3, 5]))
    def nodes_go_elsewhere(self, away: int) -> None:
        self.world.away_elsewhere = away

    @rule(broken=st.booleans())
    def node_watch_breaks_or_comes_back(self, broken: bool) -> None:
        self.world.nodes_told_at = self.world.now if broken else None

    @rule()
    def nodes_return(self) -> None:
        self.world.nodes.clear()
        self.world.kubelets_gone.clear()

    @rule(silent=st.booleans())
    def reports_stop_or_come(self, silent: bool) -> None:
        self.world.reporting = not silent

    @rule(full=st.booleans())
    def cluster_fills(self, full: bool) -> None:
        self.world.schedulable = not full

    @rule(gone=st.booleans())
    def image_goes_or_comes(self, gone: bool) -> None:
        self.world.image_gone = gone

    @rule(slow=st.booleans(), code=st.sampled_from([0, 0, 42]))
    def init_containers_take_long_or_fail(self, slow: bool, code: int) -> None:
        self.world.init_slow, self.world.init_fails = slow, code

    @rule(index=st.integers(0, 4), evicted=st.booleans())
    def node_evicts_a_worker_as_soon_as_it_runs(self, index: int, evicted: bool) -> None:
        (self.world.evicted.add if evicted else self.world.evicted.discard)(index)

    @rule(index=st.integers(0, 4), other=st.booleans())
    def launcher_comes_up_with_another_key(self, index: int, other: bool) -> None:
        (self.world.other_key.add if other else self.world.other_key.discard)(index)

    @rule()
    def the_key_is_made_anew(self) -> None:
        for launcher in self.world.launchers.values():
            launcher.other_key = True

    @rule(pick=PICK)
    def launcher_goes_deaf(self, pick: int) -> None:
        if uid := self._worker(pick):
            self.world.deaf.add(uid)

    @rule()
    def launchers_hear_again(self) -> None:
        self.world.deaf.clear()

    # --- the user -----------------------------------------------------------------------------------------------------

    @rule(replicas=st.integers(1, 4))
    def scale(self, replicas: int) -> None:
        self.world.spec["workers"]["replicas"] = replicas
        self.world.generation += 1

    @rule(spares=st.integers(0, 2))
    def change_spares(self, spares: int) -> None:
        self.world.spec["workers"]["spares"] = spares
        self.world.generation += 1

    @rule(value=st.booleans())
    def suspend(self, value: bool) -> None:
        self.world.spec["suspend"] = value
        self.world.generation += 1

    @precondition(lambda self: any(x.state == LauncherState.DONE for x in self.world.launchers.values()))
    @rule()
    def launchers_leave(self) -> None:
        self.world.exit_when_done()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def one_pod_an_index(self) -> None:
        workers = [pod.index for pod in self.world.pods.values() if pod.component == Component.WORKER]
        assert len(workers) == len(set(workers))

    @invariant()
    def numbers_only_grow(self) -> None:
        self.numbers.append(self.world.status.incarnation)
        assert self.numbers == sorted(self.numbers)

    @invariant()
    def counts_only_grow_and_add_up(self) -> None:
        restarts = self.world.status.restarts
        assert sum(restarts.by_cause.values()) == restarts.counted + restarts.excused

    @invariant()
    def what_trained_is_known_and_what_did_not_is_in_a_row_that_ends(self) -> None:
        world, status = self.world, self.world.status
        marked = {known.uid for known in status.pods if known.incarnation == TRAINED}
        assert marked <= world.trained
        never = {uid for _, uid in world.created} - world.trained
        assert status.newcomers.in_vain <= len(never), "a loss is counted once"
        if status.phase == Phase.RUNNING:
            assert status.in_vain == 0
        held = [at for at in (status.create_after, status.newcomers.create_after) if at is not None]
        assert all(at <= world.now + LONGEST for at in held)

    @invariant()
    def no_running_pod_goes_without_a_reason_in_the_stored_status(self) -> None:
        for action, stored, pod in self.world.deletes:
            if pod.component != Component.WORKER or pod.phase != "Running" or pod.terminated is not None:
                continue
            assert (
                pod.uid in stored.counted_pods
                or pod.incarnation < stored.oldest_incarnation
                or stored.done
                or "are wanted" in action.why
            ), action
        self.world.deletes.clear()

    @invariant()
    def never_more_members_than_replicas_and_the_clock_stops_when_it_trains(self) -> None:
        status, spec = self.world.status, self.world.spec["workers"]
        if status.phase == Phase.RUNNING and status.observed_generation == self.world.generation:
            assert len(status.members) <= spec["replicas"]
            assert status.interruption is None
        assert len(status.recoveries) <= 10

    @invariant()
    def one_meeting_has_one_number(self) -> None:
        meant: dict[int, Any] = {}
        for _, message in self.world.meets:
            assert meant.setdefault(message.incarnation, message) == message

    @invariant()
    def plans_are_deterministic_and_survive_json(self) -> None:
        view = self.world.view()
        first = plan(view)
        assert plan(view) == first
        assert plan(JobView.from_json(view.to_json())) == first

    @invariant()
    def a_job_that_is_not_done_says_why(self) -> None:
        status = self.world.status
        if status.updated_at is not None and not status.done:
            assert status.condition(names.Condition.PROGRESSING) is not None

    def teardown(self) -> None:
        """The world calms down: then the job succeeds, or is suspended without pods."""
        world = self.world
        world.hung.clear()
        world.cut_off.clear()
        world.deaf.clear()
        world.evicted.clear()
        world.other_key.clear()
        world.away_elsewhere, world.nodes_told_at = 0, None
        world.image_gone, world.init_slow, world.init_fails = False, False, 0
        if self.numbers and self.numbers[-1] % 3 == 0:
            world.spec["suspend"] = True
            world.nodes.clear()
            world.kubelets_gone.clear()
            world.run(lambda: not world.pods or world.status.done, seconds=150)
            if not world.status.done:
                assert not world.pods
                assert world.status.phase == Phase.SUSPENDED
        world.spec["suspend"] = False
        world.reporting = world.schedulable = True
        world.nodes.clear()
        world.kubelets_gone.clear()
        world.run(seconds=300)
        assert world.status.phase == Phase.SUCCEEDED, plan(world.view())
        world.exit_when_done()
        world.run(lambda: False, seconds=60)
        assert all(pod.phase != "Running" for pod in world.pods.values())
        made = plan(world.view())
        assert not made.write
        assert not made.actions

    def _worker(self, pick: int) -> str | None:
        running = [
            uid
            for uid, pod in sorted(self.world.pods.items())
            if pod.component == Component.WORKER and pod.phase == "Running" and pod.terminated is None
        ]
        return running[pick % len(running)] if running else None

    def _any(self, pick: int) -> str | None:
        there = sorted(self.world.pods)
        return there[pick % len(there)] if there else None


AnyHistory.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnyHistory = AnyHistory.TestCase
