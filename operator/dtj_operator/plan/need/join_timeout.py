"""`spec.rendezvous.joinTimeout`: a meeting that did not come about is held again, under the next number.

A launcher that waited in vain stays in its pod and says so; it takes another meeting. Nothing was lost, so nothing is
counted.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import LauncherState, Reason
from dtj_operator.plan.draft import Draft


def meet_again(draft: Draft) -> None:
    """Begin a new incarnation where members gave up waiting for the others."""
    if not draft.roster.met:
        return
    gave_up = [
        (index, report)
        for index, report in draft.roster.reports.items()
        if report.state == LauncherState.FAILED and draft.roster.worker(index).listens
    ]
    if not gave_up:
        return
    # One that fails for another reason says so too, a moment before it exits: that end is counted with its pod.
    until = (draft.status.incarnation_at or draft.now) + draft.spec.rendezvous.join_timeout
    if draft.now < until:
        draft.wake(until)
        return
    index, report = gave_up[0]
    text = f"pod {names.worker_name(draft.view.name, index)} waited in vain: {report.error}; all meet anew"
    draft.begin_incarnation(draft.roster.next_members())
    draft.warn(Reason.MEETING, text)
