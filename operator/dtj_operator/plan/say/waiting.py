"""What the job is waiting for, in the words of whoever makes it wait: the scheduler, the kubelet, the launchers."""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import LauncherState, Reason
from dtj_operator.plan.awaited import waits_for_store, waits_for_workers
from dtj_operator.plan.count.rounds import uncounted
from dtj_operator.plan.count.unreached_store import without_store
from dtj_operator.plan.draft import Draft
from dtj_operator.plan.need.children import held_child, needed_names, taken_names
from dtj_operator.plan.need.word import highest_round, untold


def what_for(draft: Draft) -> tuple[Reason, str]:
    """The first thing that is missing, in the order in which a job starts."""
    return (
        unread(draft)
        or _name(draft)
        or _refused(draft)
        or waits_for_workers(draft)
        or waits_for_store(draft)
        or _child(draft)
        or _meeting(draft)
    )


def unread(draft: Draft) -> tuple[Reason, str] | None:
    """What the operator may not look at, and whose words say so."""
    for what, words in draft.view.unread.items():
        text = f"the operator may not look at {what}, which the job needs; give it the chart's role again: {words}"
        return Reason.LOOKUP_FORBIDDEN, text
    return None


def _name(draft: Draft) -> tuple[Reason, str] | None:
    taken = taken_names(draft)
    if not taken:
        return None
    return Reason.NAME_TAKEN, f"{', '.join(taken[:3])} exists and is not this job's; delete it or rename the job"


def _refused(draft: Draft) -> tuple[Reason, str] | None:
    refused = sorted(needed_names(draft) & set(draft.view.refused)) if draft.view.refused else []
    if not refused:
        return None
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return Reason.CREATE_REFUSED, f"the API server refuses {refused[0]}{more}: {draft.view.refused[refused[0]]}"


def _child(draft: Draft) -> tuple[Reason, str] | None:
    held = None if draft.roster.met else held_child(draft)
    return None if held is None else (Reason.HELD_BY_FINALIZER, held)


def _meeting(draft: Draft) -> tuple[Reason, str]:
    reports = draft.roster.reports
    failed = next(((index, report) for index, report in reports.items() if report.state == LauncherState.FAILED), None)
    if failed is not None:
        return Reason.RANK_FAILED, f"pod {names.worker_name(draft.view.name, failed[0])}: {failed[1].error}"
    for index, report in without_store(draft).items():
        return Reason.STORE_LOST, f"pod {names.worker_name(draft.view.name, index)}: {report.error}"
    held = max((report.round for report in reports.values() if report.held), default=0)
    if held:
        return Reason.MEETING, f"round {held} has formed{_held_for(draft, held)}"
    members = len(draft.status.members)
    formed = sum(report.state in (LauncherState.TRAINING, LauncherState.DONE) for report in reports.values())
    if formed < members or uncounted(draft):
        return Reason.MEETING, (
            f"{formed} of {members} workers are in a round of incarnation {draft.status.incarnation}"
        )
    return Reason.FIRST_STEP_PENDING, "the round has formed; the ranks have not reported a step yet"


def _held_for(draft: Draft, number: int) -> str:
    if number <= highest_round(draft):
        return ", and its ranks are let start"
    text = "; with maxRestarts 0 its ranks start when all workers have told what failed before"
    missing = [names.worker_name(draft.view.name, index) for index in untold(draft, number)]
    more = f" (and {len(missing) - 3} more)" if len(missing) > 3 else ""
    return f"{text}: not heard of since: {', '.join(missing[:3])}{more}" if missing else text
