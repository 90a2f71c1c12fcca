"""`spec.workers.{replicas,minReplicas}`: how many meet. Save first, then meet anew with more or fewer.

The old members train on until the newcomers stand ready, so growing costs one regrouping and no waiting for pods.
"""

from __future__ import annotations

from dtj_api.names import Cause, Phase, Reason
from dtj_api.scalars import Duration, Timestamp
from dtj_api.status import SaveRequest
from dtj_api.wire import Save

from .actions import SendSave
from .draft import Draft
from .ends import cause_of_leaving
from .failure_policy import Fault, count
from .recovery import interrupt
from .rounds import count_before_they_leave

SAVE_PATIENCE = 120.0
"""Seconds that a resize waits for its save: the shortest grace period of a pod."""
SHRINK_PATIENCE = 30.0
"""Most seconds that an elastic job which has trained stands still for a lost worker before fewer go on."""
JOIN_PATIENCE = 60.0
"""Seconds that newcomers wait for each other, where `schedule.startTimeout` says nothing."""


def resize(draft: Draft) -> None:
    """Let the members follow what is wanted and what is there."""
    if draft.status.finished_members:
        return
    if draft.phase != Phase.RUNNING and draft.status.save is None:
        _while_forming(draft)
        return
    target = _target(draft)
    if target == draft.status.members:
        if draft.status.save is not None:
            draft.set(save=None)
        return
    if _saved(draft):
        before = len(draft.status.members)
        message = f"from {before} to {len(target)} workers"
        count(draft, Fault(Cause.RESIZE, message, draft.now), first=False)
        _regroup(draft, target)
        draft.set(phase=Phase.RESIZING)
        draft.tell("Normal", Reason.RESIZED, message)


def shrink_at_timeout(draft: Draft) -> str | None:
    """Go on with those that are there, if they are enough: a start waits for the others for `schedule.startTimeout`, a
    job that has trained for `SHRINK_PATIENCE` at most.

    Returns:
        Why the job cannot start, when it never ran in this stretch and has not even minReplicas; else None.
    """
    timeout = _patience(draft)
    if timeout is None or draft.phase in (Phase.RUNNING, Phase.RESIZING) or draft.status.finished_members:
        return None
    begun = draft.status.resumed_at if starting(draft) else draft.status.incarnation_at
    until = (begun or draft.now) + timeout
    if draft.now < until:
        draft.wake(until)
        return None
    there = tuple(index for index in draft.status.members if draft.reachable(index))
    least = draft.spec.workers.effective_min
    if len(there) < least:
        if not starting(draft):
            return None
        return f"{len(there)} workers are up after {timeout}, and at least {least} are needed"
    if len(there) < len(draft.status.members):
        text = f"going on with {len(there)} of {draft.size} workers: the others did not come within {timeout}"
        draft.begin_incarnation(there, least)
        draft.trouble = (Reason.FEWER_WORKERS, text)
        draft.tell("Warning", Reason.FEWER_WORKERS, text)
    return None


def _patience(draft: Draft) -> Duration | None:
    """How long those that are there wait for the others; None: without end."""
    timeout = draft.spec.schedule.start_timeout
    if starting(draft) or draft.spec.workers.effective_min == draft.spec.workers.replicas:
        return timeout
    return Duration(min(SHRINK_PATIENCE, timeout or SHRINK_PATIENCE))


def starting(draft: Draft) -> bool:
    """Nobody has trained yet in this stretch."""
    return draft.phase in (Phase.PENDING, Phase.STARTING)


def _while_forming(draft: Draft) -> None:
    """Nobody trains, so nothing is lost by meeting in the new size at once; nobody waits for one who is not wanted, nor
    for one whose place a spare can take."""
    stay = [index for index in draft.status.members if index in draft.wanted][: draft.size]
    timeout = draft.spec.schedule.start_timeout
    in_time = timeout is None or draft.now < (draft.status.resumed_at or draft.now) + timeout
    if (starting(draft) and in_time) or not stay:
        others = [index for index in draft.wanted if index not in stay]
        stay = sorted([*stay, *others[: draft.size - len(stay)]])
    target = tuple(stay)
    better = draft.next_members()
    if len(better) >= len(target) and not _all_there(draft, target) and _all_there(draft, better):
        target = better
    if target != draft.status.members:
        if not starting(draft):
            _note_leaving(draft, target)
        _regroup(draft, target)


def _note_leaving(draft: Draft, target: tuple[int, ...]) -> None:
    """A member that leaves is replaced before its end is there to be counted: training stands still from now on."""
    for index in draft.status.members:
        pod = draft.workers.get(index)
        if index not in target and pod is not None and pod.deletion_at is not None:
            interrupt(draft, cause_of_leaving(pod), draft.now, pod.node)


def _all_there(draft: Draft, members: tuple[int, ...]) -> bool:
    return all(draft.joinable(index) for index in members)


def _regroup(draft: Draft, members: tuple[int, ...]) -> None:
    count_before_they_leave(draft, {*draft.status.members} - {*members})
    draft.begin_incarnation(members)
    draft.let_go()


def _target(draft: Draft) -> tuple[int, ...]:
    """Members as they should be: wanted ones that are members, and newcomers once enough of them stand ready."""
    stay = [index for index in draft.wanted if index in draft.status.members][: draft.size]
    needed = draft.size - len(stay)
    newcomers = [index for index in draft.wanted if index not in draft.status.members]
    ready = [index for index in newcomers if draft.joinable(index)][:needed]
    if ready and len(ready) < needed:
        patience = draft.spec.schedule.start_timeout or JOIN_PATIENCE
        until = min(draft.workers[index].created for index in ready) + patience
        if draft.now < until:
            draft.wake(until)
            ready = []
    return tuple(sorted([*stay, *ready])) or draft.wanted[: draft.size]


def _saved(draft: Draft) -> bool:
    """Whether the save before the resize is done, or not worth waiting for any more."""
    reports = draft.reports()
    cannot = reports and not any(report.reports for report in reports.values())
    if draft.spec.checkpoint is None or cannot:
        return True
    save = draft.status.save
    if save is None:
        # With the moment in it: a resize that was given up may be wanted again, and its save is old by then.
        name = f"resize-{draft.view.generation}-{draft.status.incarnation}-{int(draft.now)}"
        save = SaveRequest(id=name, requested_at=Timestamp(draft.now))
        draft.set(save=save, phase=Phase.RESIZING)
    until = save.requested_at + SAVE_PATIENCE
    if any(report.last_save == save.id for report in reports.values()):
        return True
    if draft.now >= until:
        last = draft.status.checkpoint.last_step
        since = "from its beginning" if last is None else f"from the checkpoint of step {last}"
        text = f"the save before the resize was not published in {SAVE_PATIENCE:g} s: training goes on {since}"
        draft.tell("Warning", Reason.NOT_SAVED, text)
        return True
    draft.wake(until)
    for index in reports:
        pod = draft.workers[index]
        if draft.reachable(index):
            draft.act(SendSave(pod.name, pod.uid, pod.ip, Save(draft.status.incarnation, save.id)))
    return False
