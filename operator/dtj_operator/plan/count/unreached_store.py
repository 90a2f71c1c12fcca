"""A store that members cannot reach is lost, however well its pod looks: a hung process keeps its pod running.

The members' own word is all the evidence there is, and one of them is enough: it takes part in no other round until
all meet anew, and a hung store answers nobody the question whether it hangs. Ranks that train do so without it. But a
member whose own way is broken says the same of a healthy store. So the first word counts at once, and one that comes
again soon waits, each time longer.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import LauncherState
from dtj_api.template import is_own_image, trainer_container
from dtj_api.wire import STORE_PROTOCOL, Report
from dtj_operator.plan.draft import Draft

FIRST_PAUSE = 5.0
"""Seconds that an incarnation must have lasted before its store, the second in a row, is taken for lost."""
MAX_PAUSE = 60.0
QUIET = 2 * MAX_PAUSE
"""Seconds that an incarnation must have lasted to end the row."""


def without_store(draft: Draft) -> dict[int, Report]:
    """Reports of the members that have lost their way to the store of this incarnation, by index."""
    return {
        index: report
        for index, report in draft.roster.reports.items()
        if report.state in (LauncherState.MEETING, LauncherState.TRAINING)
        and report.error
        and draft.roster.worker(index).listens
    }


def ended_ranks(draft: Draft) -> list[Report]:
    """Of these the ones that have no ranks any more because they lost the store, and by no failure of their own."""
    return [
        report
        for report in without_store(draft).values()
        if report.state == LauncherState.MEETING
        and not any((each.incarnation, each.round) == (report.incarnation, report.round) for each in report.failures)
    ]


def unreached(draft: Draft) -> str | None:
    """Why the store counts as lost although its pod runs, or None."""
    lost = {index: report for index, report in without_store(draft).items() if index not in outdated(draft)}
    if not lost:
        return None
    until = (draft.status.incarnation_at or 0.0) + _pause(in_a_row(draft))
    if draft.now < until:
        draft.wake(until)
        return None
    index, report = next(iter(lost.items()))
    return f"pod {names.worker_name(draft.view.name, index)} cannot reach it: {report.error}"


def outdated(draft: Draft) -> list[int]:
    """Of these the ones whose launchers an earlier version has started, and a new store did not help.

    The store of this version is one that they cannot speak with, so another one would not help either. In the trainer's
    own image launcher and store are of one version, whichever that is.
    """
    image = trainer_container(draft.spec.workers.template).get("image") or ""
    if not in_a_row(draft) or is_own_image(image):
        return []
    return [index for index, report in without_store(draft).items() if report.store_protocol < STORE_PROTOCOL]


def in_a_row(draft: Draft) -> int:
    """How many stores were given up for this reason one soon after the other, up to now."""
    lasted = draft.now - (draft.status.incarnation_at or 0.0)
    return 0 if lasted >= QUIET else draft.status.store.unreached


def _pause(times: int) -> float:
    return min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** min(times - 1, 32)) if times else 0.0
