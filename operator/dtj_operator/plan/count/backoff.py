"""`spec.failurePolicy.backoff`: who fails by the user's doing, or never comes to train, is replaced later each time.

Whoever is to blame, and whatever it costs of the budget: pods that are evicted as soon as they run are as many as the
cluster can make. What has trained is replaced at once. Those that never did are in one of two rows, since one that the
others train on without must hold up none of them: the row of the store and of the members that the job stands still for
ends when it trains; that of `status.newcomers` when one of them does, or all that should. Time ends either: who
stands for longer than the longest pause misses none where another one is made at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dtj_api.known_pods import TRAINED
from dtj_api.scalars import Timestamp
from dtj_api.status import NewcomerStatus
from dtj_operator.observe.view import STORE_INDEX, PodView
from dtj_operator.plan.draft import Draft

NEVER_RAN_PAUSE = 5.0
"""Seconds before a pod is made anew that ended before its container ran: a node may refuse pods as fast as it can."""


@dataclass(frozen=True)
class InVain:
    """A pod that is lost and never trained."""

    index: int
    newcomer: bool
    """It was made for no member, though it may have become one."""


def in_vain(draft: Draft, index: int, incarnation: int) -> InVain | None:
    """What a lost pod is that never trained; None: it has.

    Args:
        incarnation: that the status has for it.
    """
    trained, member = draft.status.trained, draft.roster.is_member(index)
    if index == STORE_INDEX:
        return InVain(index, newcomer=False) if incarnation > trained else None
    if incarnation == TRAINED or (member and trained == draft.status.incarnation):
        return None
    return InVain(index, newcomer=not member or incarnation <= trained)


def stood(draft: Draft, pod: PodView | None) -> bool:
    """Whether a pod was there for longer than the longest pause, as a spare is that nobody needs: no pause is missed.

    By one clock: that of the node, which tells when it ended, may be off.
    """
    return pod is not None and draft.now - pod.created > draft.spec.failure_policy.backoff.max


def count_in_vain(draft: Draft, lost: Collection[InVain], *, anew: bool = False) -> None:
    """Count those that never trained: once, however many are lost together.

    Args:
        anew: the row of the newcomers begins with them.
    """
    now = Timestamp(draft.now)
    if any(not each.newcomer for each in lost):
        draft.set(in_vain=_one_more(draft, draft.status.in_vain, draft.status.in_vain_at), in_vain_at=now)
    if any(each.index != STORE_INDEX for each in lost):
        row = draft.status.newcomers
        times = 1 if anew else _one_more(draft, row.in_vain, row.in_vain_at)
        draft.set(newcomers=row.model_copy(update={"in_vain": times, "in_vain_at": now}))


def _one_more(draft: Draft, before: int, last: Timestamp | None) -> int:
    """Times in a row with this one: the first where it comes later than the pause and the longest one after the last.

    How long a pod stood whose object is gone, nothing else tells.

    Args:
        last: when the one before it was counted; None: by an operator that does not write it.
    """
    longest = draft.spec.failure_policy.backoff.max
    return 1 if last is not None and draft.now - last > _pause_of(draft, before) + longest else before + 1


def pause(draft: Draft, lost: InVain | None, *, charged: bool = False, ran: bool = True) -> Timestamp | None:
    """When another pod may be made for one that is lost; None: at once.

    Args:
        lost: as what it is counted; None: it has trained.
        charged: to the user.
        ran: its container did.
    """
    seconds = 0.0
    if charged:
        seconds = _doubled(draft, len(draft.status.restarts.recent))
    row = 0 if lost is None else draft.status.newcomers.in_vain if lost.newcomer else draft.status.in_vain
    seconds = max(seconds, _pause_of(draft, row))
    if not charged and not ran:
        seconds = max(seconds, NEVER_RAN_PAUSE)
    return Timestamp(draft.now + seconds) if seconds else None


def hold_back(draft: Draft, index: int, until: Timestamp | None) -> None:
    """Make no pod of this worker, and of those whom the job needs as much, before this."""
    if until is None:
        return
    if not draft.roster.is_member(index):
        row = draft.status.newcomers
        draft.set(newcomers=row.model_copy(update={"create_after": max(until, row.create_after or until)}))
    else:
        draft.set(create_after=max(until, draft.status.create_after or until))


def bound_holds(draft: Draft) -> None:
    """Hold back nobody for longer than a pause lasts.

    A leader before wrote until when by its own clock, which may have been ahead, or under a longer `backoff.max`.
    """
    status, latest = draft.status, Timestamp(draft.now + max(draft.spec.failure_policy.backoff.max, NEVER_RAN_PAUSE))
    bound = {"create_after": latest}
    if (status.create_after or 0.0) > latest:
        draft.set(**bound)
    if (status.newcomers.create_after or 0.0) > latest:
        draft.set(newcomers=status.newcomers.model_copy(update=bound))
    if (status.store.create_after or 0.0) > latest:
        draft.set(store=status.store.model_copy(update=bound))


def replace(draft: Draft, members: Sequence[int], why: str) -> None:
    """Replace members whose pods live, and which can never meet."""
    pods = [draft.roster.pods[index] for index in members]
    known = {each.uid: each.incarnation for each in draft.status.pods}
    lost = {pod.index: in_vain(draft, pod.index, known.get(pod.uid, pod.incarnation)) for pod in pods}
    count_in_vain(draft, [each for each in lost.values() if each is not None])
    for pod in pods:
        hold_back(draft, pod.index, pause(draft, lost[pod.index]))
        draft.replace(pod, why)


def end_rows(draft: Draft) -> None:
    """The job trains in an incarnation that had not: those who do are held up by nobody's row."""
    row, trained = draft.status.newcomers, draft.status.trained
    came = any(
        draft.roster.is_member(known.index) and TRAINED < known.incarnation <= trained for known in draft.status.pods
    )
    left = [at for at in (draft.status.create_after, row.create_after) if at is not None and at > draft.now]
    row = NewcomerStatus() if came or not draft.roster.missing else row
    row = row.model_copy(update={"create_after": max(left, default=None)})
    draft.set(in_vain=0, in_vain_at=None, create_after=None, newcomers=row)


def _pause_of(draft: Draft, row: int) -> float:
    """Seconds before what was lost so many times in a row is made anew."""
    return _doubled(draft, row - 1) if row > 1 else 0.0


def _doubled(draft: Draft, times: int) -> float:
    backoff = draft.spec.failure_policy.backoff
    return min(float(backoff.max), backoff.initial * 2.0 ** max(0, min(times, 32) - 1))
