"""What a worker is at this moment: one word of a table, from what its kubelet and its launcher say.

Both witnesses see half. A kubelet gives a pod an address long before its container runs, and calls one ready whose
launcher nobody reaches; a launcher says nothing of why it never began. Read apart, each policy would believe the one
that it thought of. So they are combined here, once, and everybody reads the state: who is *there* is who answers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from dtj_api.names import METRICS_PORT, LauncherState, Reason
from dtj_api.scalars import Duration, Timestamp
from dtj_api.wire import Report
from dtj_operator.observe.ends import End, end_of, ended, patience, silent_since
from dtj_operator.observe.node_loss import NodeLoss
from dtj_operator.observe.view import JobView, PodView

DEAF = 10.0
"""Seconds without an answer after which a launcher does not count as there."""
UNREACHABLE = 15.0
"""Seconds without an answer after which that is said: three of the longest intervals at which it is asked."""
FIRST_ANSWER = 30.0
"""Seconds that a launcher has from the start of its container for its first answer before that is said."""
IMAGE = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
"""Reasons of a kubelet that has no image to start."""


class State(StrEnum):
    """Of one worker; the first that holds, from the end of the list."""

    ABSENT = "Absent"
    """It has no pod that the job counts on."""
    PENDING = "Pending"
    """Its container does not run yet, and nothing speaks against it."""
    CANNOT_START = "CannotStart"
    """Scheduler or kubelet say what keeps it from running."""
    UP = "Up"
    """Its container runs, and its launcher does not answer: not yet, or not any more."""
    ANSWERING = "Answering"
    """Its launcher answers; no ranks are at work."""
    TRAINING = "Training"
    """Its ranks run in a round."""
    DONE = "Done"
    """All its ranks have exited 0, and perhaps its container too."""
    LEAVING = "Leaving"
    """Somebody deletes it, or it was told to go: it saves and ends."""
    LOST = "Lost"
    """It has ended, or nobody will hear of it again."""


class Worker(NamedTuple):
    """One row of the table."""

    state: State
    reason: Reason
    """For a condition, where the job waits for this worker."""
    why: str
    """The same as a sentence about the pod, in the words of who says so."""
    since: float | None = None
    """Since when, as far as that is known; of Up: since when nothing has been answered."""
    until: float | None = None
    """When this state may pass into another one without anybody saying anything new."""
    pod: PodView | None = None
    report: Report | None = None
    """The last that its launcher said."""
    end: End | None = None
    """Of Lost."""
    unheard: bool = False
    """Of Up: it has not had the time to answer, after its own start or that of the operator."""

    @property
    def answers(self) -> bool:
        """It is there: its launcher answers, and stays."""
        return self.state in (State.ANSWERING, State.TRAINING, State.DONE) and not self.over

    @property
    def listens(self) -> bool:
        """Its launcher runs and stays: what is sent to it may arrive."""
        return self.answers or self.state is State.UP

    @property
    def hears(self) -> bool:
        """Its launcher runs, if only until it has left: what ends its ranks may arrive."""
        runs = self.pod is not None and self.pod.running_since is not None
        return self.listens or (runs and self.state is State.LEAVING)

    @property
    def deaf(self) -> bool:
        """It runs, and has not answered for so long that somebody should know."""
        return self.state is State.UP and self.reason is Reason.UNREACHABLE

    @property
    def over(self) -> bool:
        """Nothing of it runs any more; where it is lost with its node, as far as anybody will ever know."""
        return self.state is State.LOST or (self.state is State.DONE and self.pod is not None and ended(self.pod))

    @property
    def lives(self) -> bool:
        """It has a pod that runs or may still run."""
        return self.state is not State.ABSENT and not self.over


NOBODY = Worker(State.ABSENT, Reason.WAITING_FOR_PODS, "its pod is to be made")
"""The row of a worker without a pod."""


def absent(held: PodView | None) -> Worker:
    """The row of a worker that the job has no pod of, as long as an object may keep the name."""
    return NOBODY if held is None else Worker(State.ABSENT, Reason.HELD_BY_FINALIZER, held_up(held), held.deletion_at)


def held_up(pod: PodView) -> str:
    """What keeps a pod that is deleted, as a sentence."""
    return (
        f"finalizer {pod.held_by} keeps pod {pod.name}, which is deleted: no other pod can have its name until whoever "
        "put it into metadata.finalizers takes it out"
    )


def worker_of(view: JobView, pod: PodView, node: NodeLoss, tolerate: Duration) -> Worker:
    """The row of one pod.

    Args:
        view: says what was heard of it.
        pod: a worker's.
        node: what is found of its node.
        tolerate: `failurePolicy.nodeLoss.tolerate`.
    """
    heard, unanswered = view.reports.get(pod.uid), view.unanswered.get(pod.uid)
    report = heard.report if heard is not None else None
    end = end_of(view, pod, node, tolerate)
    if end is not None:
        why = f"pod {pod.name} is lost ({end.cause}): {end.message}"
        return Worker(State.LOST, Reason.WORKER_LOST, why, end.at, None, pod, report, end)
    if ended(pod):
        at = pod.terminated.finished_at if pod.terminated is not None else None
        why = f"the ranks of pod {pod.name} have exited 0"
        return Worker(State.DONE, Reason.MEETING, why, at, None, pod, report)
    if pod.deletion_at is not None or (report is not None and report.state == LauncherState.DRAINING):
        if pod.held_by:
            return Worker(State.LEAVING, Reason.HELD_BY_FINALIZER, held_up(pod), pod.deletion_at, None, pod, report)
        why = f"pod {pod.name} is leaving; it saves, and another one is made when it has gone"
        until = None if pod.deletion_at is None else pod.deletion_at + tolerate
        return Worker(State.LEAVING, Reason.WAITING_FOR_PODS, why, None, until, pod, report)
    if pod.running_since is None:
        return _not_up(pod, report)
    silent = silent_since(view, pod, node)
    given_up = None if silent is None else silent + patience(tolerate)
    if pod.uid in view.unreadable:
        why = f"what pod {pod.name} answers on port {METRICS_PORT} cannot be read: another version, or another program"
        return Worker(State.UP, Reason.UNREACHABLE, why, None, given_up, pod, report)
    if report is None or (unanswered is not None and view.now - unanswered >= DEAF):
        return _silent(view.now, pod, report, unanswered, given_up)
    return _answering(pod, report, unanswered, given_up)


def _not_up(pod: PodView, report: Report | None) -> Worker:
    reason, why, state = Reason.WAITING_FOR_PODS, "", State.CANNOT_START
    if pod.waiting_reason:
        reason = Reason.IMAGE_PULL if pod.waiting_reason in IMAGE else Reason.CANNOT_START
        why = f"pod {pod.name}: {pod.waiting_reason}: {pod.waiting_message}"
    elif pod.unschedulable:
        reason, why = Reason.UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}"
    else:
        state = State.PENDING
        if not pod.node:
            why = f"pod {pod.name} has no node yet"
        elif pod.init:
            why = f"pod {pod.name}: its init container {pod.init} is not through yet"
        else:
            why = f"pod {pod.name}: node {pod.node} has not started its container yet"
    return Worker(state, reason, why, pod.created, None, pod, report)


def _silent(
    now: float, pod: PodView, report: Report | None, unanswered: float | None, given_up: float | None
) -> Worker:
    since = unanswered if unanswered is not None else pod.running_since
    told = (now if unanswered is None else unanswered) + UNREACHABLE
    if report is None and pod.running_since is not None:
        told = max(told, pod.running_since + FIRST_ANSWER)
    if now >= told:
        why = f"pod {pod.name} has not answered on port {METRICS_PORT} since {Timestamp(since or 0.0)}"
        return Worker(State.UP, Reason.UNREACHABLE, why, since, given_up, pod, report)
    deaf = (now if unanswered is None else unanswered) + DEAF
    changes = [at for at in (told, deaf, given_up) if at is not None and at > now]
    why = f"pod {pod.name} runs, and its launcher does not answer yet"
    return Worker(State.UP, Reason.WAITING_FOR_PODS, why, since, min(changes), pod, report, unheard=deaf > now)


def _answering(pod: PodView, report: Report, unanswered: float | None, given_up: float | None) -> Worker:
    until = None
    if unanswered is not None:
        until = unanswered + DEAF if given_up is None else min(unanswered + DEAF, given_up)
    if report.state == LauncherState.DONE:
        return Worker(State.DONE, Reason.MEETING, f"pod {pod.name} is through", None, until, pod, report)
    if report.state == LauncherState.TRAINING:
        why = f"the ranks of pod {pod.name} run in round {report.round}"
        return Worker(State.TRAINING, Reason.TRAINING, why, report.clock.formed_at, until, pod, report)
    if report.state == LauncherState.FAILED:
        why = f"pod {pod.name}: {report.error}"
        return Worker(State.ANSWERING, Reason.RANK_FAILED, why, None, until, pod, report)
    why = f"pod {pod.name} stands ready" if report.state == LauncherState.WAITING else f"pod {pod.name} meets"
    return Worker(State.ANSWERING, Reason.MEETING, why, pod.running_since, until, pod, report)
