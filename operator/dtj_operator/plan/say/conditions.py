"""What the job says of itself: a job that is not done always has a condition that says why.

Progressing answers "what is it waiting for": True while time alone will do, False when somebody has to do something.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Condition, Phase, Reason
from dtj_api.template import grace_seconds
from dtj_operator.plan.awaited import silent_launchers
from dtj_operator.plan.count.volume_errors import not_shared
from dtj_operator.plan.draft import Draft

from .waiting import unread, what_for

_STUCK = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL,
        Reason.CANNOT_START,
        Reason.HELD_BY_FINALIZER,
        Reason.UNREACHABLE,
        Reason.NODES_UNREACHABLE,
        Reason.NAME_TAKEN,
        Reason.CREATE_REFUSED,
        Reason.LOOKUP_FORBIDDEN,
        Reason.VOLUME_NOT_SHARED,
    }
)


def say_where_it_stands(draft: Draft) -> None:
    """Set Progressing, Ready, Degraded and the warnings of a job that is meant to run."""
    if draft.status.phase == Phase.RUNNING:
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
    members = draft.status.members
    silent = silent_launchers(draft, [draft.roster.worker(index) for index in members], len(members))
    if silent is not None:
        # It may well train on; but nobody tells us so.
        old = draft.status.condition(Condition.READY)
        if old is None or old.reason != silent[0]:
            draft.tell("Warning", *silent)
        draft.condition(Condition.READY, None, *silent)
    elif draft.roster.missing:
        text = f"{len(draft.status.members)} of {draft.roster.size} workers train"
        draft.condition(Condition.READY, False, Reason.FEWER_WORKERS, text)
    else:
        draft.condition(Condition.READY, True, Reason.ALL_READY, "all wanted workers train")


def _degraded(draft: Draft) -> None:
    if draft.trouble is not None:
        draft.condition(Condition.DEGRADED, True, *draft.trouble)
    elif (blind := unread(draft)) is not None:
        draft.condition(Condition.DEGRADED, True, *blind)
    elif draft.status.phase == Phase.RUNNING:
        if draft.roster.missing and draft.status.min_members < draft.roster.size:
            _, missed = what_for(draft)
            text = f"training goes on with {len(draft.status.members)} of {draft.roster.size} workers; {missed}"
            draft.condition(Condition.DEGRADED, True, Reason.FEWER_WORKERS, text)
        elif draft.status.condition(Condition.DEGRADED) is not None:
            draft.condition(Condition.DEGRADED, False, Reason.ALL_READY, "all wanted workers train")


def _volume(draft: Draft) -> None:
    blind = [index for index, report in draft.roster.said.items() if report.volume_shared is False]
    if blind:
        text = not_shared(names.worker_name(draft.view.name, blind[0]))
        draft.condition(Condition.VOLUME_NOT_SHARED, True, Reason.VOLUME_NOT_SHARED, text)
    else:
        draft.clear(Condition.VOLUME_NOT_SHARED, Reason.VOLUME_SHARED, "all workers see the same files")


def _grace(draft: Draft) -> None:
    seconds = max((report.progress.checkpoint_seconds or 0.0 for report in draft.roster.reports.values()), default=0.0)
    grace = grace_seconds(draft.spec.workers.template)
    if seconds > grace / 2:
        draft.condition(
            Condition.GRACE_TOO_SHORT,
            True,
            Reason.GRACE_TOO_SHORT,
            f"the last save took {seconds:.0f} s, more than half of the {grace} s that a pod has when it must leave; "
            "raise terminationGracePeriodSeconds in the template",
        )
    elif seconds:
        text = f"the last save took {seconds:.0f} s of the {grace} s that a pod has when it must leave"
        draft.clear(Condition.GRACE_TOO_SHORT, Reason.GRACE_ENOUGH, text)
