"""A plan in the making: the view it is made from, the status as far as it is decided, the actions collected so far.

Policies take a draft and change it through these few verbs. The status inside is always whole, so a policy reads there
what the ones before it decided; the stored status stays in the view. Questions are answered by `seen`, about the pods
of the view, and by `roster`, about who they are to the job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dtj_api import names
from dtj_api.known_pods import TRAINED, KnownPod
from dtj_api.names import Reason
from dtj_api.scalars import Timestamp
from dtj_api.spec import JobSpec
from dtj_api.status import ConditionStatus, GivenUp, JobCondition, JobStatus
from dtj_api.wire import Stop
from dtj_operator.observe.node_loss import Finding
from dtj_operator.observe.view import JobView, PodView

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
from .roster import Roster
from .seen import Seen

LOOK_AGAIN = 2.0
"""Seconds after which a pod that was told to leave is told once more."""
_SENDS = (SendMeet, SendRelease, SendSave, SendStop)


class Draft:
    """One reconcile's working state. `spec` is readable: the caller has seen to that."""

    def __init__(self, view: JobView, spec: JobSpec) -> None:
        self.view = view
        self.spec = spec
        self.status: JobStatus = view.status
        self.seen = Seen(view, spec.failure_policy.node_loss.tolerate)
        self.roster = Roster(view.name, spec, self.seen, view.status)
        self.events: list[Event] = []
        self.trouble: tuple[Reason, str] | None = None
        """What this reconcile counted last."""
        self.replaced: dict[str, str] = {}
        """Pods that this reconcile replaces though they live, and why."""
        self.quiet = False
        """What is decided is out of date in a moment and not worth a write."""
        self.wake_at: float | None = None
        """When to look again."""
        self._actions: list[Action] = []

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.view.now

    @property
    def actions(self) -> tuple[Action, ...]:
        """What is deleted first (it frees names and room), then what is created, then what is sent."""
        return tuple(sorted(self._actions, key=_order))

    def set(self, **changes: Any) -> None:
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)
        if not Roster.READS.isdisjoint(changes):
            self.roster = Roster(self.view.name, self.spec, self.seen, self.status)

    def act(self, action: Action) -> None:
        """Do this once the status is written."""
        self._actions.append(action)

    def tell(self, type_: str, reason: Reason, message: str) -> None:
        """Emit an event in the end."""
        self.events.append(Event(type_, reason.value, message))

    def warn(self, reason: Reason, message: str) -> None:
        """Tell of what interrupts the training, or makes it slower, and let the conditions speak of it."""
        self.trouble = (reason, message)
        self.tell("Warning", reason, message)

    def wake(self, at: float) -> None:
        """Look again at this moment, or earlier."""
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)

    def condition(self, kind: names.Condition, status: bool | None, reason: Reason, message: str) -> None:
        """Set one condition; its transition time moves only when its status does. None: Unknown."""
        value: ConditionStatus = "Unknown" if status is None else "True" if status else "False"
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

    def clear(self, kind: names.Condition, reason: Reason, message: str) -> None:
        """Say that a condition holds no more, where it was said to hold."""
        if self.status.is_true(kind):
            self.condition(kind, False, reason, message)

    def delete(self, pod: PodView, why: str, *, force: bool = False) -> None:
        """Delete a pod: with its own grace, unless somebody does so already; by force where nobody there can answer.

        Of one that finalizers alone keep there is nothing more to ask.

        Args:
            force: nothing of it is worth a wait.
        """
        if pod.held_by:
            return
        given_up, node = self.seen.silent_until(pod), self.seen.node_of(pod)
        lost = node.finding is Finding.LOST
        # Its kubelet had the pod's whole grace and as long again as a node may be silent.
        bound = None if pod.deletion_at is None else pod.deletion_at + self.seen.tolerate
        if force or lost or (given_up is not None and self.now >= given_up):
            self.act(DeletePod(pod.name, pod.uid, why, 0, with_node=lost))
        elif bound is None:
            self.act(DeletePod(pod.name, pod.uid, why))
        elif self.now >= bound and node.finding is not Finding.BRAKED:
            self.act(DeletePod(pod.name, pod.uid, f"{why}; it has not gone by itself", 0))
        else:
            self.wake(max(bound, self.now + LOOK_AGAIN))
            if node.away:
                self._tell_to_leave(pod)

    def _tell_to_leave(self, pod: PodView) -> None:
        """A kubelet that is not heard of tells nobody to leave; the launcher, as long as it answers, can be told."""
        said = self.seen.row(pod).report
        if said is not None and pod.running_since is not None and pod.uid not in self.view.unanswered:
            self.act(SendStop(pod.name, pod.uid, pod.ip, Stop(said.incarnation, save=True)))
            self.wake(self.now + LOOK_AGAIN)

    def count_on(self, pods: Mapping[int, KnownPod]) -> None:
        """Count on these worker pods and no others from now on."""
        self.set(pods=tuple(pods[index] for index in sorted(pods)))

    def use_up(self, uids: Iterable[str]) -> None:
        """Remember that the ends of these pods are dealt with, for as long as their objects are there."""
        used = {uid: None for uid in (*self.status.counted_pods, *uids) if uid in self.seen.by_uid}
        if (left := tuple(used)) != self.status.counted_pods:
            self.set(counted_pods=left)

    def made_after(self, index: int) -> Timestamp | None:
        """No pod of this worker is made before this."""
        held = (self.status.create_after, None if self.roster.is_member(index) else self.status.newcomers.create_after)
        return max((until for until in held if until is not None), default=None)

    def replace(self, pod: PodView, why: str) -> None:
        """Replace a worker pod that lives; its end is dealt with."""
        self.replaced[pod.uid] = why
        self.count_on({known.index: known for known in self.status.pods if known.uid != pod.uid})
        self.use_up([pod.uid])

    def give_up(self, reason: Reason, message: str, *, plainly: bool = False) -> None:
        """Have the next verdict end the job: something was seen after which no restart helps.

        It is written down, so that a job that is suspended meanwhile fails when it resumes.

        Args:
            plainly: a program said so itself, which is more than what is concluded from a row of failures.
        """
        if plainly or self.status.given_up is None:
            self.set(given_up=GivenUp(reason=reason.value, message=message[:4096]))

    def let_go(self) -> None:
        """Count no more on workers that are not needed."""
        gone = [known.uid for known in self.status.pods if not self.roster.is_needed(known.index)]
        if gone:
            self.count_on({known.index: known for known in self.status.pods if self.roster.is_needed(known.index)})
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
        self._remember_who_they_are(members)
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

    def _remember_who_they_are(self, members: tuple[int, ...]) -> None:
        """Who trained in the incarnation that is over, and who of the next members was made for none: it alone tells.

        A member's pod that was made before the last one that trained was made for none; so that number marks it.
        """
        trained, joins = self.status.trained, frozenset(members)
        over = trained == self.status.incarnation
        pods = {known.index: known for known in self.status.pods}
        for index, known in pods.items():
            if self.roster.is_member(index):
                number = TRAINED if over else known.incarnation
            else:
                number = min(known.incarnation, trained) if trained and index in joins else known.incarnation
            if number != known.incarnation:
                pods[index] = known.model_copy(update={"incarnation": number})
        self.count_on(pods)


def _order(action: Action) -> int:
    if isinstance(action, DeletePod | DeleteJob):
        return 0
    if isinstance(action, CreateStore | CreateWorker):
        return 2
    if isinstance(action, _SENDS):
        return 4
    return 3 if isinstance(action, CreateService | CreatePolicy) else 1
