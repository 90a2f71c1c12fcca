"""A slow rank is named, and left alone: it is more often its data or its neighbours than its machine."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median_high

from dtj_api.names import Condition, Phase, Reason
from dtj_api.status import SlowRank
from dtj_api.wire import Report
from dtj_operator.plan.draft import Draft

SLOW = 1.5
"""A rank is slow if its own time for a step is so many times the median of the others'."""
SLOW_STILL = 1.3
"""And stays so down to this: a rank on the edge is not told again and again."""
LEAST = 1e-6
"""Seconds: of ranks that say they take less for a step nobody can say how much slower another one is."""
LOOK_AGAIN = 30.0
"""Seconds after which paces are compared again, where no report of progress brings it up."""


def note_straggler(draft: Draft) -> None:
    """Compare the ranks, once all of them have told their own time in this round."""
    reports = draft.roster.reports
    paces = {pace.rank: (pace.seconds, index) for index, report in reports.items() for pace in report.paces}
    if draft.status.phase != Phase.RUNNING:
        return
    named = draft.status.straggler
    if named is not None and named.pod not in {draft.roster.pods[index].name for index in reports}:
        _all_even(draft, f"pod {named.pod} trains no more")
    if not paces:
        return
    draft.wake(draft.now + LOOK_AGAIN)
    if len(paces) < max(2, _world_size(reports)):
        return
    rank = max(paces, key=lambda each: (paces[each], -each))
    seconds, index = paces[rank]
    usual = median_high(other for each, (other, _) in paces.items() if each != rank)
    ratio = round(seconds / usual, 1) if usual >= LEAST else 1.0
    before = draft.status.straggler
    pod = draft.roster.pods[index]
    if ratio < (SLOW_STILL if before is not None and before.rank == rank else SLOW):
        _all_even(draft, "no rank is much slower than the others")
        return
    draft.set(straggler=SlowRank(rank=rank, pod=pod.name, node=pod.node, ratio=ratio))
    text = (
        f"rank {rank} (pod {pod.name}, node {pod.node}) takes {ratio:.1f} times as long for its own part of a step as "
        f"the others: {seconds:.3g} s, their median is {usual:.3g} s"
    )
    if before is None or (before.rank, before.node) != (rank, pod.node):
        draft.tell("Warning", Reason.SLOW_RANK, text)
    draft.condition(Condition.STRAGGLER, True, Reason.SLOW_RANK, text)


def _all_even(draft: Draft, why: str) -> None:
    """No rank holds up the others."""
    draft.set(straggler=None)
    draft.clear(Condition.STRAGGLER, Reason.EVEN_RANKS, why)


def _world_size(reports: Mapping[int, Report]) -> int:
    return max(report.world_size for report in reports.values())
