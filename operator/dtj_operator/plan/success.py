"""Success: every member of the incarnation has exited 0.

A member that is through is written down, since its pod, the only witness, may go before the last one is through. It is
crossed out again when it says that it is back at work: a peer failed, and all of them meet for another round.
"""

from __future__ import annotations

from dtj_api.names import LauncherState

from .draft import Draft
from .ends import ended_well


def note_finished(draft: Draft) -> None:
    """Write down the members whose ranks have all exited 0 in this incarnation."""
    if not draft.met:
        return
    before = set(draft.status.finished_members)
    finished = tuple(index for index in draft.status.members if _is_through(draft, index, index in before))
    draft.set(finished_members=finished)


def all_finished(draft: Draft) -> bool:
    """Whether the job is done."""
    members = draft.status.members
    return bool(members) and draft.met and set(members) <= set(draft.status.finished_members)


def _is_through(draft: Draft, index: int, before: bool) -> bool:
    pod, report = draft.workers.get(index), draft.report(index)
    if pod is None or pod.uid in draft.status.counted_pods:
        return before
    if report is not None and report.incarnation != draft.status.incarnation:
        return False  # It ended in an earlier incarnation, whose end is counted: its peers still need it.
    if ended_well(pod):
        return True
    return before if report is None else report.state == LauncherState.DONE
