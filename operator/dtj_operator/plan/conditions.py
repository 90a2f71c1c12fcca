"""What the job says of itself: a job that is not done always has a condition that says why.

Progressing answers "what is it waiting for": True while time alone will do, False when somebody has to do something.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Condition, Phase, Reason
from dtj_api.template import grace_seconds

from .draft import Draft
from .waiting import what_for

_STUCK = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL,
        Reason.NAME_TAKEN,
        Reason.CREATE_REFUSED,
        Reason.VOLUME_NOT_SHARED,
    }
)


def not_progressing(draft: Draft, reason: Reason, message: str) -> None:
    """The job stands still, and why."""
    draft.condition(Condition.PROGRESSING, False, reason, message)
    draft.condition(Condition.READY, False, reason, message)


def say_where_it_stands(draft: Draft) -> None:
    """Set Progressing, Ready, Degraded and the warnings of a job that is meant to run."""
    if draft.phase == Phase.RUNNING:
        _running(draft)
    else:
        reason, message = what_for(draft)
        stuck = reason in _STUCK
        old = draft.status.condition(Condition.PROGRESSING)
        if stuck and (old is None or old.reason != reason):
            draft.tell("Warning", reason, message)
        draft.condition(Condition.PROGRESSING, not stuck, reason, message)
        draft.condition(Condition.READY, False, reason, message)
    _degraded(draft)
    _volume(draft)
    _grace(draft)


def _running(draft: Draft) -> None:
    draft.condition(Condition.PROGRESSING, True, Reason.TRAINING, "training")
    if draft.missing:
        text = f"{len(draft.status.members)} of {draft.size} workers train"
        draft.condition(Condition.READY, False, Reason.FEWER_WORKERS, text)
    else:
        draft.condition(Condition.READY, True, Reason.ALL_READY, "all wanted workers train")


def _degraded(draft: Draft) -> None:
    if draft.trouble is not None:
        draft.condition(Condition.DEGRADED, True, *draft.trouble)
    elif draft.phase == Phase.RUNNING:
        if draft.missing and draft.status.min_members < draft.size:
            _, missed = what_for(draft)
            text = f"training goes on with {len(draft.status.members)} of {draft.size} workers; {missed}"
            draft.condition(Condition.DEGRADED, True, Reason.FEWER_WORKERS, text)
        elif draft.status.condition(Condition.DEGRADED) is not None:
            draft.condition(Condition.DEGRADED, False, Reason.ALL_READY, "all wanted workers train")


def _volume(draft: Draft) -> None:
    blind = blind_workers(draft)
    if blind:
        text = (
            f"pod {names.worker_name(draft.view.name, blind[0])} does not see on the volume what another worker wrote "
            "there; use a claim that all nodes mount with ReadWriteMany"
        )
        draft.condition(Condition.VOLUME_NOT_SHARED, True, Reason.VOLUME_NOT_SHARED, text)
    elif draft.status.is_true(Condition.VOLUME_NOT_SHARED):
        draft.condition(Condition.VOLUME_NOT_SHARED, False, Reason.VOLUME_SHARED, "all workers see the same files")


def blind_workers(draft: Draft) -> list[int]:
    """Workers that do not see what another one wrote on the volume."""
    return [index for index in draft.workers if (said := draft.report(index)) and said.volume_shared is False]


def _grace(draft: Draft) -> None:
    seconds = max((report.progress.checkpoint_seconds or 0.0 for report in draft.reports().values()), default=0.0)
    grace = grace_seconds(draft.spec.workers.template)
    if seconds > grace / 2:
        draft.condition(
            Condition.GRACE_TOO_SHORT,
            True,
            Reason.GRACE_TOO_SHORT,
            f"the last save took {seconds:.0f} s, more than half of the {grace} s that a pod has when it must leave; "
            "raise terminationGracePeriodSeconds in the template",
        )
    elif seconds and draft.status.is_true(Condition.GRACE_TOO_SHORT):
        text = f"the last save took {seconds:.0f} s of the {grace} s that a pod has when it must leave"
        draft.condition(Condition.GRACE_TOO_SHORT, False, Reason.GRACE_ENOUGH, text)
