"""`failurePolicy.maxRestarts: 0`: nothing starts twice, each start but the job's first waits for the operator's word.

Launchers of such a job hold the ranks of a round that has formed, and say so. The word comes when all pods of the round
have been heard of in it: then what any of them saw fail before is counted, and a charged failure has ended the job. It
holds for this round and those before it, whatever they began anew for.
"""

from __future__ import annotations

from collections import Counter

from dtj_operator.plan.draft import Draft


def highest_round(draft: Draft) -> int:
    """The highest round of this incarnation whose ranks may start."""
    reports = draft.roster.reports.values()
    heard = Counter(report.round for report in reports)
    whole = (report.round for report in reports if 0 < report.held <= heard[report.round])
    # Of the job's first round nothing can have failed before.
    return max(whole, default=1 if draft.status.incarnation == 1 else 0)


def let_start(draft: Draft, highest: int) -> list[int]:
    """Members that wait for the word and may start, by index."""
    return [index for index, report in draft.roster.reports.items() if report.held and report.round <= highest]
