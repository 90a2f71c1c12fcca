"""Whether checkpoints reach the volume: told while they do not, with the reason, and until they do again.

Two witnesses: each launcher tries the volume with a small file before ranks start, and ranks tell of each save that
failed. A save that failed is mended by one that was published later and by nothing else: a volume that takes a small
file may be too full for a large one. Training is not ended by it unless `checkpoint.onFailure` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtj_api.checkpoint import Checkpoint, Every
from dtj_api.names import Condition, Phase, Reason
from dtj_api.scalars import Duration, Timestamp
from dtj_api.status import CheckpointStatus
from dtj_api.verdict import checkpoint_failed
from dtj_api.wire import LostSaves, Progress, Report
from dtj_operator.plan.draft import Draft

from .progress import point_in_time
from .volume_errors import advice, reason_of

SLOW = 5.0
"""Seconds that a small file may take. The launcher waits as long for it before it starts ranks."""
LATE = 3.0
"""A checkpoint is late when it is so many times as old as its interval says."""
LEAST = 120.0
"""Seconds that it may be old in any case, and a save may take."""
_SAVES = "checkpoint"
"""The phase that a rank declares while it saves."""


@dataclass(frozen=True)
class _Trouble:
    reason: Reason
    message: str
    fatal: bool = False
    """`checkpoint.onFailure: Fail` means this."""


def note_saves(draft: Draft) -> None:
    """Tell why nothing is saved, and that it is again; end the job by it where the policy says so."""
    checkpoint = draft.spec.checkpoint
    if checkpoint is None:
        return
    leader = publisher(draft)
    if leader is not None:
        _count(draft, leader)
    trouble = _failing(draft, leader) or _volume(draft) or _late(draft, checkpoint, leader) or _slow(checkpoint, leader)
    if trouble is not None:
        _tell(draft, trouble)
    elif draft.status.is_true(Condition.CHECKPOINT_FAILING):
        _mended(draft, leader)


def publisher(draft: Draft) -> Report | None:
    """Rank 0's pod: it publishes. Also one that leaves with the stretch, and is no member any more."""
    told = [known.report for known in draft.view.reports.values()]
    current = [each for each in told if each.incarnation == draft.status.incarnation and each.group_rank == 0]
    return max(current, key=lambda each: each.round, default=None)


def _count(draft: Draft, leader: Report) -> None:
    """Write down what failed since the last checkpoint: the pods that told it may go."""
    lost, known = leader.lost_saves, draft.status.checkpoint
    at, before = point_in_time(lost.at), known.failed_at or 0.0
    published = max(known.last_time or 0.0, point_in_time(leader.progress.checkpoint_at) or 0.0)
    if lost.count and at is not None and at > max(before, published):
        draft.set(checkpoint=known.model_copy(update={"failed": lost.count, "failed_at": at}))
        if draft.spec.suspend or draft.status.done:
            text = f"the save before the pods left failed: {_why(draft, lost)}; {_last(draft)}"
            draft.tell("Warning", Reason.NOT_SAVED, text)
    elif known.failed and published > before:
        draft.set(checkpoint=known.model_copy(update={"failed": 0, "failed_at": None}))


def _failing(draft: Draft, leader: Report | None) -> _Trouble | None:
    lost = leader.lost_saves if leader is not None else LostSaves()
    if not draft.status.checkpoint.failed or not lost.count:
        return None
    reason = reason_of(_errno(draft, lost))
    times = f", {lost.count} in a row" if lost.count > 1 else ""
    text = f"the save of step {lost.step} failed{times}: {_why(draft, lost)}; {_last(draft)}; {advice(reason)}"
    return _Trouble(reason, text, fatal=True)


def _volume(draft: Draft) -> _Trouble | None:
    """What the first launcher found that could not write, or has been at it for long."""
    for index, pod in sorted(draft.roster.pods.items()):
        report = draft.roster.said.get(index)
        if report is None or not draft.roster.worker(index).lives:
            continue
        tried = report.volume
        if tried.errno is not None:
            reason = reason_of(tried.errno)
            text = f"pod {pod.name} cannot write to the volume: {tried.text}; {_last(draft)}; {advice(reason)}"
            return _Trouble(reason, text, fatal=True)
        waits = point_in_time(tried.waits_since)
        if waits is not None and draft.now - waits > SLOW:
            text = f"pod {pod.name} has waited since {waits} for a small file on the volume"
            return _Trouble(Reason.VOLUME_SLOW, f"{text}; {_last(draft)}; {advice(Reason.VOLUME_SLOW)}")
        if waits is not None:
            draft.wake(waits + SLOW + 1.0)
        if (tried.seconds or 0.0) > SLOW:
            text = f"a small file of pod {pod.name} took {tried.seconds:.1f} s on the volume"
            return _Trouble(Reason.VOLUME_SLOW, f"{text}; {advice(Reason.VOLUME_SLOW)}")
    return None


def _late(draft: Draft, checkpoint: Checkpoint, leader: Report | None) -> _Trouble | None:
    """Steps are made, and nothing is published. A script that has never saved through dtj may save by itself."""
    last = draft.status.checkpoint
    if leader is None or leader.clock.first_step_at is None or draft.status.phase != Phase.RUNNING:
        return None
    if last.last_time is None and draft.spec.trainer is None:
        return None
    begun = max(last.last_time or 0.0, point_in_time(leader.clock.first_step_at) or 0.0)
    due = _due_by_time(draft, checkpoint.every, leader.progress, begun) or _due_by_steps(last, checkpoint.every, leader)
    if due is None:
        return None
    return _Trouble(
        Reason.CHECKPOINT_LATE,
        f"training goes on, a checkpoint is due {due}, and none was published since {Timestamp(begun)}; "
        f"{_last(draft)}; see the log of rank 0, and whether it saves when dtj.should_save() says so",
    )


def _due_by_time(draft: Draft, every: Every, progress: Progress, begun: float) -> str | None:
    """How often one is due, where too much time has passed while steps were made; None: it is not late."""
    intervals = [each for each in (every.seconds, draft.status.checkpoint.interval if every.auto else None) if each]
    if not intervals:
        return None
    allowed = max(LEAST, LATE * min(intervals))
    until = draft.now if progress.phase == _SAVES else (progress.updated_at or begun)
    if until - begun > allowed:
        return f"every {Duration(min(intervals))}"
    if begun + allowed > draft.now:
        draft.wake(begun + allowed + 1.0)
    return None


def _due_by_steps(last: CheckpointStatus, every: Every, leader: Report) -> str | None:
    """How often one is due, where too many steps were made since the last one; None: it is not late."""
    if every.steps is None:
        return None
    made = (leader.progress.step or 0) - max(last.last_step or 0, leader.clock.restored_step or 0)
    return f"every {every.steps} steps" if made > LATE * every.steps else None


def _slow(checkpoint: Checkpoint, leader: Report | None) -> _Trouble | None:
    took = (leader.progress.checkpoint_seconds or 0.0) if leader is not None else 0.0
    due = checkpoint.every.seconds
    if due is None or took <= max(LEAST, due):
        return None
    text = f"the last save took {took:.0f} s, and one is due every {due} s"
    return _Trouble(Reason.VOLUME_SLOW, f"{text}; {advice(Reason.VOLUME_SLOW)}, or raise checkpoint.every")


def _tell(draft: Draft, trouble: _Trouble) -> None:
    before = draft.status.condition(Condition.CHECKPOINT_FAILING)
    message = trouble.message
    if trouble.fatal and (why := checkpoint_failed(draft.spec, trouble.reason, message)) is not None:
        message = why.message
        if not draft.status.done:
            draft.give_up(*why)
    if before is None or before.status != "True" or before.reason != trouble.reason:
        draft.tell("Warning", trouble.reason, message)
    draft.condition(Condition.CHECKPOINT_FAILING, True, trouble.reason, message)


def _mended(draft: Draft, leader: Report | None) -> None:
    """Say that all is well, as far as somebody knows."""
    before = draft.status.condition(Condition.CHECKPOINT_FAILING)
    if before is None or draft.status.checkpoint.failed:
        return
    said = leader.progress if leader is not None else Progress()
    if (said.checkpoint_at or 0.0) > before.last_transition_time or draft.view.status.checkpoint.failed:
        text = f"the checkpoint of step {said.checkpoint_step} was published after it"
        draft.condition(Condition.CHECKPOINT_FAILING, False, Reason.CHECKPOINT_SAVED, text)
    elif before.reason != Reason.CHECKPOINT_LATE or draft.status.phase == Phase.RUNNING:
        reports = [draft.roster.said.get(index) for index in draft.roster.pods if draft.roster.worker(index).lives]
        if reports and all(report is not None and report.volume.at is not None for report in reports):
            draft.condition(Condition.CHECKPOINT_FAILING, False, Reason.VOLUME_WRITABLE, "the volume takes files")


def _errno(draft: Draft, lost: LostSaves) -> int | None:
    """Where rank 0 only knows that another rank could not write, that one's pod knows why."""
    others = (known.report.lost_saves for known in draft.view.reports.values())
    same = [each.errno for each in others if each.step == lost.step and each.errno]
    return lost.errno or (min(same) if same else None)


def _why(draft: Draft, lost: LostSaves) -> str:
    if lost.errno:
        return lost.text
    others = (known.report.lost_saves for known in draft.view.reports.values())
    return next((each.text for each in others if each.step == lost.step and each.errno), lost.text)


def _last(draft: Draft) -> str:
    """Since when nothing has been saved."""
    last = draft.status.checkpoint
    if last.last_step is None or last.last_time is None:
        return "nothing has been saved yet"
    return f"the last checkpoint is that of step {last.last_step}, of {last.last_time}"
