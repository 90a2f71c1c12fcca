"""`failurePolicy.maxRestarts: 0`: nothing starts twice, each start but the job's first waits for the operator's word.

Launchers of such a job hold the ranks of a round that has formed, and say so. The word comes when all pods of the round
have been heard of in it, and each other member since its own ranks ended, where the round has formed without it: then
what any of them saw fail before is counted, and a charged failure has ended the job. It holds for this round and those
before it, whatever they began anew for.

A member that is not heard of keeps no round for ever: it is lost, or left behind under the next number like any worker
that is silent. At the latest the launchers give up after `rendezvous.joinTimeout`, and all meet anew.
"""

from __future__ import annotations

from collections import Counter

from dtj_api.names import LauncherState
from dtj_operator.plan.draft import Draft


def highest_round(draft: Draft) -> int:
    """The highest round of this incarnation whose ranks may start."""
    reports = draft.roster.reports.values()
    heard = Counter(report.round for report in reports)
    whole = {report.round for report in reports if 0 < report.held <= heard[report.round]}
    told = (number for number in whole if not untold(draft, number))
    # Of the job's first round nothing can have failed before.
    return max(told, default=1 if draft.status.incarnation == 1 else 0)


def untold(draft: Draft, number: int) -> list[int]:
    """Members that may have seen a failure before this round, and were not heard of since, by index."""
    return [index for index in draft.status.members if not _has_told(draft, index, number)]


def _has_told(draft: Draft, index: int, number: int) -> bool:
    if draft.roster.is_through(index):
        return True
    report = draft.roster.reports.get(index)
    if report is None:
        return False
    # Whoever meets has told how its ranks ended, and starts no others without the word.
    return report.round >= number or report.state not in (LauncherState.STARTING, LauncherState.TRAINING)


def let_start(draft: Draft, highest: int) -> list[int]:
    """Members that wait for the word and may start, by index."""
    return [index for index, report in draft.roster.reports.items() if report.held and report.round <= highest]
