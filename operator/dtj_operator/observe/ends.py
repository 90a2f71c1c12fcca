"""How a pod ended, and by whose doing.

Kubernetes tells the end of a pod in five places (container state, phase, reason, disruption condition, node), and not
all of them in each case. They are read here, once, from the surest to the vaguest. What the infrastructure did is never
charged to the user: an OOM kill inside an evicted pod is an eviction.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtj_api.names import Cause, ExitCode
from dtj_api.scalars import Duration
from dtj_operator.observe.node_loss import Finding, NodeLoss
from dtj_operator.observe.view import JobView, PodView, Terminated

_LOST_WITH_NODE = frozenset({"NodeLost", "DeletionByTaintManager", "DeletionByPodGC"})
SILENCE = 30.0
"""Least seconds that a running pod may be silent before it is given up."""
_REFUSED_BY_KUBELET = frozenset(
    {"Evicted", "NodeAffinity", "NodeShutdown", "Preempting", "Shutdown", "Terminated", "UnexpectedAdmissionError"}
)


@dataclass(frozen=True)
class End:
    """The end of a pod that did not finish its work."""

    cause: Cause
    at: float
    message: str
    exit_code: int | None = None
    """Of the main container; of the init container that failed before it; None: neither ran."""
    signal: int = 0
    """That ended it; 0: none, or nobody knows."""
    ran: bool = True
    """The main container ran at all."""
    timed: bool = False
    """`at` is the end of its processes, and not when somebody noticed."""
    since: float | None = None
    """When it was of no use any more, where that was earlier than `at`."""

    @property
    def began(self) -> float:
        """When training was lost by it."""
        return self.at if self.since is None else self.since

    @property
    def status(self) -> int | None:
        """The signal with a minus, else the exit code."""
        return -self.signal or self.exit_code


def exit_code(pod: PodView) -> int | None:
    """Exit code of the main container; None while it runs or when nobody knows it."""
    if pod.terminated is not None:
        return pod.terminated.exit_code
    return 0 if pod.phase == "Succeeded" else None


def ended_well(pod: PodView) -> bool:
    """The main container exited 0."""
    return exit_code(pod) == ExitCode.DONE


def ended(pod: PodView) -> bool:
    """The main container has ended, well or not: the object is all that is left."""
    return pod.terminated is not None or pod.phase in ("Succeeded", "Failed")


def end_of(view: JobView, pod: PodView, node: NodeLoss, tolerate: Duration) -> End | None:
    """Why the pod is lost, or None: it lives, is starting, or ended well.

    Args:
        node: what is found of its node.
        tolerate: seconds that a node may be away before its pods count as lost.
    """
    now = view.now
    if ended(pod):
        return None if ended_well(pod) else _ended(pod, now)
    if node.finding is Finding.LOST:
        text = f"node {pod.node} has not been ready for {tolerate}, and nothing on it answers"
        return End(Cause.NODE_LOST, now, text, since=node.since)
    silent = silent_since(view, pod, node)
    if silent is not None and now - silent >= patience(tolerate):
        text = f"it runs, but has answered neither its kubelet nor the operator for {now - silent:.0f} s"
        return End(Cause.POD_FAILED, now, text, since=view.unanswered.get(pod.uid))
    return None


def silent_since(view: JobView, pod: PodView, node: NodeLoss) -> float | None:
    """Since when a running pod has answered neither its kubelet nor the operator; None: one of them had an answer.

    A launcher that is stopped or wedged keeps its pod running for ever. One witness is not enough to end a pod that may
    train: the operator's way to it may be broken, and readiness may mean what its user wants it to.
    """
    if pod.unready_since is None or pod.deletion_at is not None or node.away:
        return None
    unanswered = view.unanswered.get(pod.uid)
    if unanswered is None:
        return None
    return max(pod.unready_since, unanswered)


def patience(tolerate: Duration) -> float:
    """Seconds that a pod may be silent."""
    return max(SILENCE, tolerate)


def _ended(pod: PodView, now: float) -> End:
    code, said = exit_code(pod), pod.terminated
    message = (said.message if said is not None else "") or pod.message or _in_words(pod, code)
    cause = _cause(pod, code)
    ran = said is not None
    if said is None and pod.init_ended is not None and cause is Cause.POD_FAILED:
        said = pod.init_ended
        code, message = said.exit_code, _of_init(pod.init, said)
    finished = said.finished_at if said is not None else None
    signal = said.signal if said is not None else 0
    at = now if finished is None else finished
    return End(cause, at, message.strip(), code, signal, ran=ran, timed=finished is not None)


def _of_init(name: str, ended: Terminated) -> str:
    how = f"was ended by signal {ended.signal}" if ended.signal else f"exited {ended.exit_code}"
    if ended.oom_killed:
        how = "was killed for using more memory than its limit"
    return f"its init container {name} {how}" + (f": {ended.message.strip()}" if ended.message.strip() else "")


def cause_of_leaving(pod: PodView) -> Cause:
    """Why a pod goes that somebody deletes or sends away."""
    if pod.disruption in _LOST_WITH_NODE or pod.reason in _LOST_WITH_NODE:
        return Cause.NODE_LOST
    if pod.disruption or pod.reason in _REFUSED_BY_KUBELET or pod.reason.startswith("OutOf"):
        return Cause.POD_EVICTED
    return Cause.POD_DELETED


def _over_its_own_limit(pod: PodView) -> bool:
    """Evicted for a limit that its own manifest sets, and not since its node ran short of something."""
    return pod.reason == "Evicted" and "exceed" in pod.message and "limit" in pod.message


def _cause(pod: PodView, code: int | None) -> Cause:
    if _over_its_own_limit(pod):
        return Cause.POD_FAILED
    leaving = cause_of_leaving(pod)
    if leaving is not Cause.POD_DELETED or pod.deletion_at is not None:
        return leaving
    if _out_of_memory(pod, code):
        return Cause.OUT_OF_MEMORY
    if code == ExitCode.DRAINED:
        return Cause.DRAINED
    return Cause.POD_FAILED


def _out_of_memory(pod: PodView, code: int | None) -> bool:
    """The container was killed for its memory.

    The runtime says so from the first process on that the kernel kills in a container, whatever ends it later: one
    that saved and left by itself was not killed.
    """
    return pod.terminated is not None and pod.terminated.oom_killed and code != ExitCode.DRAINED


def _in_words(pod: PodView, code: int | None) -> str:
    if code is None:
        return pod.reason or "it failed before its container ran"
    if _out_of_memory(pod, code):
        return "its container was killed for using more memory than its limit"
    if pod.terminated is not None and pod.terminated.signal:
        return f"its container was ended by signal {pod.terminated.signal}"
    return f"its container exited {code}"
