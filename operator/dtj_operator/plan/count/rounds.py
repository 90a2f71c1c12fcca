"""A process died: a new round in the same pods, counted once for the whole job.

Every launcher tells the failures that it saw. One cursor, (incarnation, round), says what has been counted, and the
first failure of a round gives its cause: the others are peers that lost their partner. The newest round waits for its
count until its successor has formed, or the error is certainly the user's: connections also break when a peer's *pod*
is lost, and that end belongs to the pod. The successor may be the first round of the next incarnation: a resize or the
loss of the store's pod breaks no connection between ranks, so a failure waits across it.
"""

from __future__ import annotations

import signal
from collections.abc import Collection

from dtj_api.names import Reason
from dtj_api.rounds import CLOCKS, Ended, describe, error_text, first_failures, is_certain
from dtj_api.status import RoundCursor
from dtj_api.wire import NO_RANK, Failure
from dtj_operator.observe.view import PodView
from dtj_operator.plan.draft import Draft

from .crash_loop import note_repetition
from .hopeless import note_end_of_ranks
from .restarts import Fault, count

_BY_THE_KERNEL = frozenset({signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
"""What ends a rank for a reason of its own; with SIGABRT a library says that its peers are gone."""


def count_rounds(draft: Draft) -> None:
    """Count the rounds that certainly ended by a failure of their own, oldest first."""
    for ended, (index, first) in _waiting(draft).items():
        if not is_certain(draft.roster.said.values(), ended):
            return
        _count(draft, ended, index, first)


def count_before_they_leave(draft: Draft, leaving: Collection[int]) -> None:
    """Count what only workers tell that are sent away now, and what came before it."""
    waiting = _waiting(draft)
    last = max((ended for ended, (index, _) in waiting.items() if index in leaving), default=(0, 0))
    for ended, (index, first) in waiting.items():
        if ended <= last:
            _count(draft, ended, index, first)


def count_unexplained(draft: Draft, lost: Collection[int], since: float | None) -> None:
    """Of what waits, count what no loss of a peer explains; to be called before the losses are counted.

    A connection that breaks is a consequence; a rank that the kernel ended on a pod that is still there is none, nor is
    what came well before the first loss.

    Args:
        lost: indices of the pods that are found lost now: what their ranks said belongs to their own end.
        since: when the first of them was lost; None: nobody knows for sure.
    """
    for ended, (index, first) in _waiting(draft).items():
        early = since is not None and first.at < since - CLOCKS
        if early or (-first.exit_code in _BY_THE_KERNEL and index not in lost):
            _count(draft, ended, index, first)


def write_off(draft: Draft) -> None:
    """Never count what waits: it is the consequence of a loss that is counted, or of the end of a stretch."""
    draft.set(counted=RoundCursor(incarnation=draft.status.incarnation, round=0))


def uncounted(draft: Draft) -> set[int]:
    """The ended rounds of this incarnation that are not counted."""
    return {number for incarnation, number in _waiting(draft) if incarnation == draft.status.incarnation}


def broken_rounds(draft: Draft) -> set[int]:
    """The rounds of this incarnation that are known to have ended: those that are not counted, and the last that is."""
    counted = draft.status.counted
    last = {counted.round} if counted.incarnation == draft.status.incarnation and counted.round else set()
    return uncounted(draft) | last


def _waiting(draft: Draft) -> dict[Ended, tuple[int, Failure]]:
    """What is not counted, oldest first: each ended round, its first failure and the worker that tells it."""
    counted = (draft.status.counted.incarnation, draft.status.counted.round)
    return first_failures(draft.roster.said, counted, draft.status.incarnation)


def _count(draft: Draft, ended: Ended, index: int, first: Failure) -> None:
    pod = _pod_of(draft, index, first)
    message = describe(pod.name if pod is not None else first.pod, first)
    node = pod.node if pod is not None else ""
    fault = Fault(first.cause, message, first.at, node, first.exit_code, error_text(first))
    counted = count(draft, fault, first=True)
    if counted.charged:
        note_repetition(draft, first, message)
    if counted.replace and pod is not None:
        draft.replace(pod, "a rule of failurePolicy replaces it")
    draft.set(counted=RoundCursor(incarnation=ended[0], round=ended[1]))
    reason = Reason.HUNG if first.hang else Reason.RANK_FAILED
    draft.warn(reason, message)
    note_end_of_ranks(draft, first, message)


def _pod_of(draft: Draft, index: int, failure: Failure) -> PodView | None:
    """The pod that failed; None: nobody knows which, or it has gone."""
    if failure.rank == NO_RANK:
        return None
    if not failure.pod:
        return draft.roster.pods[index]
    return next((pod for pod in draft.roster.pods.values() if pod.uid == failure.pod_uid), None)
