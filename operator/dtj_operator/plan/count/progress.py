"""`status.progress`, `status.checkpoint` and the counts of pods: figures, written seldom and only when they changed."""

from __future__ import annotations

from collections.abc import Iterable

from dtj_api.names import LauncherState, Phase
from dtj_api.rounds import speaker
from dtj_api.scalars import Timestamp, finite
from dtj_api.status import CheckpointStatus, JobProgress, WorkerCounts
from dtj_api.wire import Progress, Report
from dtj_operator.observe.ends import ended, ended_well
from dtj_operator.plan.draft import Draft

EVERY = 5.0
"""Least seconds between two writes of figures alone; `metrics.interval` may say more."""


def note_figures(draft: Draft) -> None:
    """Take progress and counts into the status."""
    alive = {index: pod for index, pod in draft.roster.pods.items() if draft.roster.worker(index).lives}
    failed = [pod for pod in draft.roster.pods.values() if ended(pod) and not ended_well(pod)]
    idle = max(0, len(alive.keys() - set(draft.status.members)) - draft.roster.missing)
    counts = WorkerCounts(
        desired=0 if draft.spec.suspend else draft.roster.size,
        ready=sum(pod.ready for pod in alive.values()),
        active=len(alive) - idle,
        spare=idle,
        failed=len(failed),
    )
    draft.set(workers=counts)
    reports = draft.roster.reports
    leader = speaker(reports.values())
    if leader is None:
        return
    if not leader.reports and leader.progress.step is None:
        if leader.state == LauncherState.TRAINING and draft.status.phase == Phase.RUNNING:
            draft.set(progress=JobProgress(message="not reported"))
        return
    draft.set(
        progress=_progress(draft.status.progress, leader.progress),
        checkpoint=_checkpoint(draft.status.checkpoint, reports.values()),
    )


def note_last_save(draft: Draft) -> None:
    """Take the checkpoint into the status that pods publish while they leave: they are no members any more."""
    leaving = [known.report for known in draft.view.reports.values()]
    draft.set(checkpoint=_checkpoint(draft.status.checkpoint, leaving))


def _progress(old: JobProgress, new: Progress) -> JobProgress:
    if new.step is None:
        return old
    total = new.total_steps if new.total_steps is not None and new.total_steps > 0 else None
    return JobProgress(
        step=new.step,
        total_steps=total,
        epoch=finite(new.epoch),
        loss=finite(new.loss),
        tokens_per_second=finite(new.tokens_per_second),
        samples_per_second=finite(new.samples_per_second),
        eta=_eta(old, new, total),
        updated_at=point_in_time(new.updated_at),
    )


def _eta(old: JobProgress, new: Progress, total: int | None) -> Timestamp | None:
    """When the last step will be done, from the steps since the last write, smoothed with what was expected then."""
    now = point_in_time(new.updated_at)
    if total is None or new.step is None or now is None:
        return None
    if old.step is None or old.updated_at is None or new.step <= old.step or now <= old.updated_at:
        return old.eta if old.step is not None and new.step >= old.step else None
    seconds = (now - old.updated_at) / (new.step - old.step) * max(0, total - new.step)
    at = now + seconds
    if old.eta is not None:
        at = (at + max(old.eta, now)) / 2
    return Timestamp(at) if seconds < 10 * 365 * 86400 else None


def _checkpoint(old: CheckpointStatus, reports: Iterable[Report]) -> CheckpointStatus:
    known = [each.progress for each in reports if each.progress.checkpoint_step is not None]
    if not known:
        return old
    last = max(known, key=lambda each: (each.checkpoint_step or 0, each.checkpoint_at or 0.0))
    interval = finite(max((each.save_interval for each in known if each.save_interval is not None), default=None))
    return old.model_copy(
        update={
            "last_step": last.checkpoint_step,
            "last_time": point_in_time(last.checkpoint_at),
            "interval": old.interval if interval is None else float(round(interval)),
        }
    )


def point_in_time(at: float | None) -> Timestamp | None:
    """A point in time out of a report, unless it is none that can be written."""
    return Timestamp(at) if at is not None and 0 <= at < 32503680000 else None
