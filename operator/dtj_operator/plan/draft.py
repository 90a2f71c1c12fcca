"""A plan in the making: the view it is made from, the status as far as it is decided, the actions collected so far.

Policies take a draft and change it through these few verbs. The status inside is always whole, so a policy reads there
what the ones before it decided; the stored status stays in the view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from dtj_api import names
from dtj_api.names import Component, Phase, Reason
from dtj_api.scalars import Duration, Timestamp
from dtj_api.spec import JobSpec
from dtj_api.status import GivenUp, JobCondition, JobStatus, KnownPod
from dtj_api.wire import Report
from dtj_operator.observe.view import JobView, NodeView, PodView

from .actions import (
    Action,
    CreatePolicy,
    CreateService,
    CreateStore,
    CreateWorker,
    DeleteJob,
    DeletePod,
    Event,
    SendMeet,
    SendRelease,
    SendSave,
    SendStop,
)
from .ends import End, away, end_of, ended, patience, silent_since

_SENDS = (SendMeet, SendRelease, SendSave, SendStop)


class Draft:
    """One reconcile's working state. `spec` is readable: the caller has seen to that."""

    def __init__(self, view: JobView, spec: JobSpec) -> None:
        self.view = view
        self.spec = spec
        self.status: JobStatus = view.status
        self.events: list[Event] = []
        self.fatal: tuple[Reason, str] | None = None
        """Something was seen after which no restart helps."""
        self.trouble: tuple[Reason, str] | None = None
        """What this reconcile counted last."""
        self.quiet = False
        """What is decided is out of date in a moment and not worth a write."""
        self._actions: list[Action] = []
        self._wake: float | None = None
        self._workers: Mapping[int, PodView] | None = None
        self.nodes: Mapping[str, NodeView] = {node.name: node for node in view.nodes}
        self._by_uid: Mapping[str, PodView] = {pod.uid: pod for pod in view.pods}

    # --- what the view says ---------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.view.now

    @property
    def size(self) -> int:
        """Workers that should train."""
        return self.spec.workers.replicas

    @cached_property
    def wanted(self) -> tuple[int, ...]:
        """Indices of the pods that the spec asks for, spares included: who is one is a role, no number."""
        return tuple(range(self.size + self.spec.workers.spares))

    @property
    def missing(self) -> int:
        """Workers that should train and are no members."""
        return max(0, self.size - len(self.status.members))

    def pod(self, uid: str) -> PodView | None:
        """The pod with this uid, if its object is still there."""
        return self._by_uid.get(uid)

    @property
    def workers(self) -> Mapping[int, PodView]:
        """Worker pods of this stretch, by index, whatever their state."""
        if self._workers is None:
            self._workers = self._find_workers()
        return self._workers

    def _find_workers(self) -> Mapping[int, PodView]:
        return {
            pod.index: pod
            for pod in self.view.pods
            if pod.component == Component.WORKER
            and pod.name == names.worker_name(self.view.name, pod.index)
            and not self.left_over(pod)
        }

    @property
    def store(self) -> PodView | None:
        """The store pod of this stretch, whatever its state."""
        stores = (pod for pod in self.view.pods if pod.component == Component.STORE and not self.left_over(pod))
        return next(stores, None)

    def left_over(self, pod: PodView) -> bool:
        """Made before the last suspension: it only waits to go."""
        return pod.incarnation < self.status.oldest_incarnation

    def alive(self, pod: PodView) -> bool:
        """It runs or may still run, and nothing says that it is lost."""
        return (
            not self.left_over(pod)
            and not ended(pod)
            and pod.uid not in self.status.counted_pods
            and self.end_of(pod) is None
        )

    @property
    def tolerate(self) -> Duration:
        """How long a node may be away before its pods count as lost."""
        return self.spec.failure_policy.node_loss.tolerate

    def end_of(self, pod: PodView) -> End | None:
        """Why the pod is lost, or None: it lives, is starting, or ended well."""
        return end_of(pod, self.nodes, self.now, self.tolerate, self.view.unanswered.get(pod.uid))

    def silent_until(self, pod: PodView) -> float | None:
        """When a running pod that answers nobody is given up, or None: it was heard of last."""
        silent = silent_since(pod, self.nodes, self.view.unanswered.get(pod.uid))
        return None if silent is None else silent + patience(self.tolerate)

    def reachable(self, index: int) -> bool:
        """The worker's pod is alive, stays, and has an address."""
        pod = self.workers.get(index)
        return pod is not None and self.alive(pod) and pod.deletion_at is None and bool(pod.ip)

    def report(self, index: int) -> Report | None:
        """The latest report of the worker's present pod."""
        pod = self.workers.get(index)
        reported = self.view.reports.get(pod.uid) if pod is not None else None
        return reported.report if reported is not None else None

    def reports(self) -> dict[int, Report]:
        """Reports of members that are in the current incarnation, by index."""
        found = {index: self.report(index) for index in self.status.members}
        return {
            index: report
            for index, report in found.items()
            if report is not None and report.incarnation == self.status.incarnation
        }

    @property
    def met(self) -> bool:
        """The members of this incarnation have been told where to meet."""
        return bool(self.status.store.address)

    @property
    def active_seconds(self) -> float:
        """Time on the deadline's clock."""
        stretch = 0.0 if self.status.resumed_at is None else max(0.0, self.now - self.status.resumed_at)
        return self.status.active_seconds + stretch

    # --- what is decided ------------------------------------------------------------------------------------------

    def set(self, **changes: Any) -> None:
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)
        if "oldest_incarnation" in changes:
            self._workers = None

    def act(self, action: Action) -> None:
        """Do this once the status is written."""
        self._actions.append(action)

    def tell(self, type_: str, reason: Reason, message: str) -> None:
        """Emit an event in the end."""
        self.events.append(Event(type_, reason.value, message))

    def wake(self, at: float) -> None:
        """Look again at this moment, or earlier."""
        self._wake = at if self._wake is None else min(self._wake, at)

    def condition(self, kind: names.Condition, status: bool, reason: Reason, message: str) -> None:
        """Set one condition; its transition time moves only when its status does."""
        value = "True" if status else "False"
        old = self.status.condition(kind)
        moved = old is None or old.status != value
        new = JobCondition(
            type=kind.value,
            status=value,
            reason=reason.value,
            message=message[:4096],
            observed_generation=self.view.generation,
            last_transition_time=Timestamp(self.now) if moved or old is None else old.last_transition_time,
        )
        others = tuple(each for each in self.status.conditions if each.type != kind)
        self.set(conditions=tuple(sorted((*others, new), key=lambda each: each.type)))

    def delete(self, pod: PodView, why: str, *, force: bool = False) -> None:
        """Delete a pod: with its own grace, unless somebody does so already; by force where nobody there can answer.

        Args:
            force: nothing of it is worth a wait.
        """
        given_up = self.silent_until(pod)
        node = self.nodes.get(pod.node)
        # Its kubelet had the pod's whole grace and as long again as a node may be silent.
        bound = None if pod.deletion_at is None else pod.deletion_at + self.tolerate
        silent = given_up is not None and self.now >= given_up
        if force or silent or (node is not None and away(node, self.now) >= self.tolerate):
            self.act(DeletePod(pod.name, pod.uid, why, 0))
        elif bound is None:
            self.act(DeletePod(pod.name, pod.uid, why))
        elif self.now >= bound:
            self.act(DeletePod(pod.name, pod.uid, f"{why}; it has not gone by itself", 0))
        else:
            self.wake(bound)
            if node is not None and not node.ready and node.not_ready_since is not None:
                self.wake(node.not_ready_since + self.tolerate)

    def count_on(self, pods: Mapping[int, KnownPod]) -> None:
        """Count on these worker pods and no others from now on."""
        self.set(pods=tuple(pods[index] for index in sorted(pods)))

    def use_up(self, uids: Iterable[str]) -> None:
        """Remember that the ends of these pods are dealt with, for as long as their objects are there."""
        used = {uid: None for uid in (*self.status.counted_pods, *uids) if uid in self._by_uid}
        self.set(counted_pods=tuple(used))

    def give_up(self, pod: PodView) -> None:
        """Replace a worker pod that lives; its end is dealt with."""
        self.count_on({known.index: known for known in self.status.pods if known.uid != pod.uid})
        self.use_up([pod.uid])

    def fail_later(self, reason: Reason, message: str) -> None:
        """Have the next verdict end the job: this reconcile's is passed."""
        self.set(given_up=GivenUp(reason=reason.value, message=message[:4096]))
        self.wake(self.now)

    def let_go(self) -> None:
        """Count no more on workers that are neither wanted nor members: their ends are nobody's loss."""
        stay = {*self.wanted, *self.status.members}
        gone = [known.uid for known in self.status.pods if known.index not in stay]
        if gone:
            self.count_on({known.index: known for known in self.status.pods if known.index in stay})
            self.use_up(gone)

    def begin_incarnation(self, members: tuple[int, ...], min_members: int | None = None) -> None:
        """All members meet anew. Numbers are never used twice, so a message of before means nothing any more.

        Pods of number 1 may be there before any status: a start that was cut off made them. It is taken up under that
        number, unless a launcher says that it has met already: then the status was lost.

        A failure that waits for its count goes on waiting.

        Args:
            members: indices, ascending.
            min_members: how many are enough; None: all.
        """
        used = max(self.status.incarnation, *(pod.incarnation for pod in self.view.pods), 0)
        met = max((known.report.incarnation for known in self.view.reports.values()), default=0)
        cut_off = self.status.start_time is None and used == 1 and met == 0
        number = 1 if cut_off else max(used, met) + 1
        self.set(
            incarnation=number,
            incarnation_at=Timestamp(self.now),
            members=members,
            min_members=len(members) if min_members is None else min_members,
            finished_members=(),
            save=None,
            store=self.status.store.model_copy(update={"address": ""}),
        )

    def next_members(self) -> tuple[int, ...]:
        """Who meets next: members that are there, then those that stand ready, then members that are waited for."""
        members = [index for index in self.wanted if index in self.status.members]
        there = [index for index in members if self.reachable(index)]
        ready = [index for index in self.wanted if index not in members and self.joinable(index)]
        awaited = [index for index in members if index not in there]
        return tuple(sorted([*there, *ready, *awaited][: self.size])) or self.wanted[: self.size]

    def joinable(self, index: int) -> bool:
        """The worker's pod is up and its launcher answers."""
        return self.reachable(index) and self.report(index) is not None

    # --- the whole --------------------------------------------------------------------------------------------------

    @property
    def actions(self) -> tuple[Action, ...]:
        """What is deleted first (it frees names and room), then what is created, then what is sent."""
        return tuple(sorted(self._actions, key=_order))

    @property
    def wake_at(self) -> float | None:
        """When to look again."""
        return self._wake

    @property
    def phase(self) -> Phase:
        """The phase as stored or decided so far."""
        return self.status.phase


def _order(action: Action) -> int:
    if isinstance(action, DeletePod | DeleteJob):
        return 0
    if isinstance(action, CreateStore | CreateWorker):
        return 2
    if isinstance(action, _SENDS):
        return 4
    return 3 if isinstance(action, CreateService | CreatePolicy) else 1
