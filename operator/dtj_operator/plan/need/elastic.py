"""`spec.workers.{replicas,minReplicas}`: how many meet. Save first, then meet anew with more or fewer.

The old members train on until the newcomers stand ready, so growing costs one regrouping and no waiting for pods.
"""

from __future__ import annotations

from dtj_api.names import Cause, LauncherState, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import SaveRequest
from dtj_api.wire import Save
from dtj_operator.observe.ends import cause_of_leaving
from dtj_operator.observe.node_loss import Finding
from dtj_operator.observe.worker import State
from dtj_operator.plan.actions import SendSave
from dtj_operator.plan.count.interruption import interrupt
from dtj_operator.plan.count.restarts import Fault, count
from dtj_operator.plan.count.rounds import count_before_they_leave
from dtj_operator.plan.draft import Draft
from dtj_operator.plan.verdict.start_timeout import came_in_time, missed, patience, starting

SAVE_PATIENCE = 120.0
"""Seconds that a resize waits for its save: the shortest grace period of a pod."""
JOIN_PATIENCE = 60.0
"""Seconds that newcomers wait for each other, where `schedule.startTimeout` says nothing."""


def resize(draft: Draft) -> None:
    """Let the members follow what is wanted and what is there."""
    if draft.status.finished_members:
        return
    if draft.status.phase != Phase.RUNNING and draft.status.save is None:
        if not _train_on(draft):
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


def go_on_with_fewer(draft: Draft) -> None:
    """Let those who are there begin, if they are enough and have waited long enough for the others."""
    there, least = came_in_time(draft), draft.spec.workers.effective_min
    # All that should train are no fewer: they meet by the rule of spares.
    if there is None or not least <= len(there) < draft.roster.size:
        return
    if {*draft.status.members} <= {*there}:
        return  # They need nobody else; who stands ready beside them joins once they train.
    text = (
        f"going on with {len(there)} of {draft.roster.size} workers: the others did not come within {patience(draft)}"
    )
    text += missed(draft)
    if not starting(draft):
        _note_leaving(draft, there)
    draft.begin_incarnation(there, least)
    draft.warn(Reason.FEWER_WORKERS, text)


def _train_on(draft: Draft) -> bool:
    """Whether ranks make steps without a store, or save before they move to another one: all of them, or none can."""
    began = draft.status.interruption
    if began is None or began.cause != Cause.STORE_LOST:
        return False
    if draft.roster.met:
        until = (began.met_at or draft.now) + SAVE_PATIENCE
        if draft.now < until:
            draft.wake(until)
        return draft.now < until
    reports = ((index, draft.roster.said.get(index)) for index in draft.status.members)
    return any(
        report is not None and report.state == LauncherState.TRAINING and draft.roster.worker(index).answers
        for index, report in reports
    )


def _while_forming(draft: Draft) -> None:
    """Nobody trains, so nothing is lost by meeting in the new size at once; nobody waits for one who is not wanted, nor
    for one whose place a spare can take."""
    stay = [index for index in draft.status.members if draft.roster.is_wanted(index)][: draft.roster.size]
    timeout = draft.spec.schedule.start_timeout
    in_time = timeout is None or draft.now < (draft.status.resumed_at or draft.now) + timeout
    if (starting(draft) and in_time) or not stay:
        there = set(stay)
        others = [index for index in draft.roster.wanted if index not in there]
        stay = sorted([*stay, *others[: draft.roster.size - len(stay)]])
    target = tuple(stay)
    better = draft.roster.next_members()
    # One that came a moment ago, or that this operator has not heard of yet, is given the time to answer.
    late = not _all_there(draft, target) and not any(draft.roster.worker(index).unheard for index in target)
    if len(better) >= len(target) and late and _all_there(draft, better):
        target = better
    if target != draft.status.members:
        if not starting(draft):
            _note_leaving(draft, target)
        _regroup(draft, target)


def _note_leaving(draft: Draft, target: tuple[int, ...]) -> None:
    """A member that leaves, or answers no more, is replaced before its end is there to be counted, and training stands
    still from then on."""
    stays = set(target)
    for index in draft.status.members:
        pod, row = draft.roster.pods.get(index), draft.roster.worker(index)
        if index in stays or pod is None:
            continue
        if pod.deletion_at is not None:
            interrupt(draft, cause_of_leaving(pod), draft.now, pod.node)
        elif row.state is State.UP:
            here = draft.seen.node_of(pod).finding is Finding.HERE
            cause = Cause.POD_FAILED if here else Cause.NODE_LOST
            interrupt(draft, cause, draft.now if row.since is None else row.since, pod.node)


def _all_there(draft: Draft, members: tuple[int, ...]) -> bool:
    return all(draft.roster.worker(index).answers for index in members)


def _regroup(draft: Draft, members: tuple[int, ...]) -> None:
    count_before_they_leave(draft, {*draft.status.members} - {*members})
    draft.begin_incarnation(members)
    draft.let_go()


def _target(draft: Draft) -> tuple[int, ...]:
    """Members as they should be: wanted ones that are members, and newcomers once enough of them stand ready."""
    stay = [index for index in draft.roster.wanted if draft.roster.is_member(index)][: draft.roster.size]
    needed = draft.roster.size - len(stay)
    newcomers = [index for index in draft.roster.wanted if not draft.roster.is_member(index)]
    ready = [index for index in newcomers if draft.roster.worker(index).answers][:needed]
    if ready and len(ready) < needed:
        join = draft.spec.schedule.start_timeout or JOIN_PATIENCE
        until = min(draft.roster.pods[index].created for index in ready) + join
        if draft.now < until:
            draft.wake(until)
            ready = []
    return tuple(sorted([*stay, *ready])) or draft.roster.wanted[: draft.roster.size]


def _saved(draft: Draft) -> bool:
    """Whether the save before the resize is done, or not worth waiting for any more."""
    reports = draft.roster.reports
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
        pod = draft.roster.pods[index]
        if draft.roster.worker(index).listens:
            draft.act(SendSave(pod.name, pod.uid, pod.ip, Save(draft.status.incarnation, save.id)))
    return False
