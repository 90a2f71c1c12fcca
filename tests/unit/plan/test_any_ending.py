"""Deadline, start timeout, suspension, clean-up and time to live, in any mixture: who has the last word, and when.

Suspended > Deadline > Failed > Restart; the deadline's clock stands still while a job is suspended; what is done stays
done; the time to live counts from the finish.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from plan_jobs import a_spec
from plan_world import World

from dtj_api.names import Component, Condition, Phase, Reason

PICK = st.integers(0, 7)


class AnyEnding(RuleBasedStateMachine):
    """A job with every limit that it may have."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(a_spec())
        self.active = 0.0
        """Seconds on the deadline's clock, by books of our own."""
        self.ended: tuple[Phase, float] | None = None
        self.seen = False
        """The operator has looked since time passed, and lived to do what it planned."""

    @initialize(
        deadline=st.sampled_from([None, 20, 60]),
        ttl=st.sampled_from([None, 0, 30]),
        clean=st.sampled_from(["Running", "All", "None"]),
        patience=st.sampled_from([None, 15]),
        elastic=st.booleans(),
        budget=st.integers(0, 3),
        steps=st.integers(3, 60),
    )
    def begin(self, deadline, ttl, clean, patience, elastic, budget, steps) -> None:
        lifecycle: dict[str, Any] = {"cleanPods": clean}
        if deadline:
            lifecycle["activeDeadline"] = f"{deadline}s"
        if ttl is not None:
            lifecycle["ttlAfterFinished"] = f"{ttl}s"
        spec = a_spec(
            workers={"replicas": 2, **({"minReplicas": 1} if elastic else {})},
            lifecycle=lifecycle,
            schedule={"startTimeout": f"{patience}s"} if patience else {},
            failurePolicy={"maxRestarts": budget, "backoff": {"initial": "1s", "max": "2s"}},
            checkpoint={"volume": {"claimName": "c"}},
        )
        self.deadline, self.ttl, self.clean = deadline, ttl, clean
        self.world = World(spec, steps=steps)

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(seconds=st.integers(1, 5))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick()
            self.reconcile()

    @rule(after=st.integers(0, 3))
    def operator_dies(self, after: int) -> None:
        self.world.reconcile(crash_after=after)
        self.seen = False
        self.note()

    @rule(pick=PICK, user_error=st.booleans())
    def rank_crashes(self, pick: int, user_error: bool) -> None:
        if uid := self.worker(pick):
            self.world.crash_rank(uid, exit_code=1 if user_error else -9, user_error=user_error)

    @rule(pick=PICK)
    def pod_vanishes(self, pick: int) -> None:
        if uid := self.worker(pick):
            self.world.vanish(uid)

    @rule(index=st.integers(0, 1), evicted=st.booleans())
    def node_evicts_a_worker_as_soon_as_it_runs(self, index: int, evicted: bool) -> None:
        (self.world.evicted.add if evicted else self.world.evicted.discard)(index)

    @rule(full=st.booleans())
    def cluster_fills(self, full: bool) -> None:
        self.world.schedulable = not full

    @rule(value=st.booleans())
    def suspend(self, value: bool) -> None:
        self.world.spec["suspend"] = value
        self.world.generation += 1
        self.reconcile()
        if value and not self.world.status.done:
            assert self.world.status.phase == Phase.SUSPENDED, "nothing comes before a suspension"

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_deadlines_clock_runs_while_the_job_is_not_suspended(self) -> None:
        status = self.world.status
        running = 0.0 if status.resumed_at is None else self.world.now - status.resumed_at
        assert abs(status.active_seconds + running - self.active) < 0.01

    @invariant()
    def a_deadline_is_kept(self) -> None:
        status = self.world.status
        if self.deadline and self.seen and not status.done and status.phase != Phase.SUSPENDED:
            assert self.active < self.deadline

    @invariant()
    def what_is_done_stays_done(self) -> None:
        if self.ended is not None:
            assert (self.world.status.phase, self.world.status.completion_time) == self.ended

    @invariant()
    def who_failed_says_why(self) -> None:
        if self.world.status.phase == Phase.FAILED:
            failed = self.world.status.condition(Condition.FAILED)
            assert failed is not None
            assert failed.reason in {
                Reason.DEADLINE_EXCEEDED, Reason.START_TIMEOUT, Reason.BUDGET_SPENT, Reason.USER_ERROR,
                Reason.CRASH_LOOP,
            }  # fmt: skip
            if failed.reason == Reason.DEADLINE_EXCEEDED:
                assert self.deadline is not None
                assert self.active >= self.deadline

    @invariant()
    def nothing_goes_before_its_time_to_live(self) -> None:
        if self.world.job_deleted:
            assert self.ttl is not None
            assert self.ended is not None
            assert self.world.now >= self.ended[1] + self.ttl

    def teardown(self) -> None:
        world = self.world
        world.spec["suspend"] = False
        world.schedulable = True
        world.evicted.clear()
        for _ in range(400):
            self.reconcile()
            if world.status.done:
                break
            self.tick()
        assert world.status.done
        assert world.status.phase in (Phase.SUCCEEDED, Phase.FAILED)
        for _ in range(200):
            world.exit_when_done()
            self.tick()
            self.reconcile()
        left = [pod for pod in world.pods.values() if pod.component == Component.WORKER]
        assert all(pod.phase != "Running" for pod in left)
        assert not [pod for pod in world.pods.values() if pod.component == Component.STORE]
        assert self.clean != "All" or not left
        assert world.job_deleted == (self.ttl is not None)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        if self.world.status.resumed_at is not None:
            self.active += 1.0
        self.seen = False
        self.world.tick()

    def reconcile(self) -> None:
        self.world.reconcile()
        self.seen = True
        self.note()
        self.nothing_goes_before_its_time_to_live()
        self.a_deadline_is_kept()

    def note(self) -> None:
        status = self.world.status
        if status.done and self.ended is None:
            assert status.completion_time is not None
            self.ended = (status.phase, status.completion_time)

    def worker(self, pick: int) -> str | None:
        running = [
            uid
            for uid, pod in sorted(self.world.pods.items())
            if pod.component == Component.WORKER and pod.phase == "Running" and pod.terminated is None
        ]
        return running[pick % len(running)] if running else None


AnyEnding.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnyEnding = AnyEnding.TestCase
