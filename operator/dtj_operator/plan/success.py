"""Success: every member of the incarnation has exited 0.

A member that is through is written down, since its pod, the only witness, may go before the last one is through.
"""

from __future__ import annotations

from dtj_api.names import LauncherState
from dtj_operator.observe.view import PodView

from .draft import Draft
from .ends import ended_well


def note_finished(draft: Draft) -> None:
    """Write down the members whose ranks have all exited 0 in this incarnation."""
    if not draft.met:
        return
    finished = set(draft.status.finished_members)
    for index in draft.status.members:
        pod = draft.workers.get(index)
        if pod is not None and pod.uid not in draft.status.counted_pods and _is_through(draft, index, pod):
            finished.add(index)
    draft.set(finished_members=tuple(sorted(finished)))


def all_finished(draft: Draft) -> bool:
    """Whether the job is done."""
    members = draft.status.members
    return bool(members) and draft.met and set(members) <= set(draft.status.finished_members)


def _is_through(draft: Draft, index: int, pod: PodView) -> bool:
    report = draft.report(index)
    if report is None:
        return ended_well(pod)
    if report.incarnation != draft.status.incarnation:
        return False  # It ended in an earlier incarnation, whose end is counted: its peers still need it.
    return ended_well(pod) or report.state == LauncherState.DONE
