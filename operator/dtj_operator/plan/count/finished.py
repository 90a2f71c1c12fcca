"""Success: every member of the incarnation has exited 0.

A member that is through is written down, since its pod, the only witness, may go before the last one is through. It is
crossed out again when it says that it is back at work: a peer failed, and all of them meet for another round.
"""

from __future__ import annotations

from dtj_api.names import LauncherState
from dtj_operator.observe.ends import ended_well
from dtj_operator.plan.draft import Draft


def note_finished(draft: Draft) -> None:
    """Write down the members whose ranks have all exited 0 in this incarnation."""
    if not draft.roster.met:
        return
    finished = tuple(
        index for index in draft.status.members if _has_finished(draft, index, draft.roster.is_through(index))
    )
    if finished != draft.status.finished_members:
        draft.set(finished_members=finished)


def all_finished(draft: Draft) -> bool:
    """Whether the job is done."""
    members = draft.status.members
    return bool(members) and draft.roster.met and all(draft.roster.is_through(index) for index in members)


def _has_finished(draft: Draft, index: int, before: bool) -> bool:
    pod, report = draft.roster.pods.get(index), draft.roster.said.get(index)
    if pod is None or draft.roster.is_used_up(pod.uid):
        return before
    if report is not None and report.incarnation != draft.status.incarnation:
        return False  # It ended in an earlier incarnation, whose end is counted: its peers still need it.
    if ended_well(pod):
        return True
    return before if report is None else report.state == LauncherState.DONE
