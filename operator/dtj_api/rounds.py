"""Rounds that failed, as launchers tell of them: the first failure of each, its step, and its words.

The operator and `dtj run` read the same reports by this, so that both count the same failures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .wire import NO_RANK, Failure, Report

CLOCKS = 5.0
"""Seconds by which the clocks of two nodes may differ."""

Ended = tuple[int, int]
"""Incarnation and round."""


def first_failures(reports: Mapping[int, Report], counted: Ended, incarnation: int) -> dict[Ended, tuple[int, Failure]]:
    """Each ended round that is not counted, oldest first, with its first failure and the worker that tells it.

    Args:
        reports: by index of the worker.
        counted: the last round that is.
        incarnation: the present one.
    """
    first: dict[Ended, tuple[int, Failure]] = {}
    for index, report in reports.items():
        for failure in report.failures:
            ended = (failure.incarnation, failure.round)
            if not counted < ended or failure.incarnation > incarnation:
                continue
            known = first.get(ended)
            if known is None or (failure.at, failure.rank) < (known[1].at, known[1].rank):
                first[ended] = (index, failure)
    return dict(sorted(first.items()))


def is_certain(reports: Iterable[Report], ended: Ended) -> bool:
    """Whether a round ended by a failure of its own: its successor has formed, or the error is the user's."""
    reports = list(reports)
    if any(report.round > 0 and ended < (report.incarnation, report.round) for report in reports):
        return True
    failures = (failure for report in reports for failure in report.failures)
    return any((each.incarnation, each.round) == ended and each.user_error for each in failures)


def step_before(reports: Iterable[Report], failure: Failure) -> int | None:
    """The last step before a failure: often rank 0 alone reports steps, and another one failed.

    Args:
        reports: of all launchers.
        failure: the first one of its round.
    """
    if failure.step is not None:
        return failure.step
    known = [
        report.clock.step_before
        for report in reports
        if (report.incarnation, report.round) > (failure.incarnation, failure.round)
        and report.clock.left_at is not None
        and report.clock.left_at >= failure.at - CLOCKS
    ]
    return max((step for step in known if step is not None), default=None)


def speaker(reports: Iterable[Report]) -> Report | None:
    """The launcher whose progress is the job's: rank 0's, else the first that knows a step."""
    reports = list(reports)
    know = [each for each in reports if each.progress.step is not None]
    return min(know or reports, key=lambda each: (each.group_rank < 0, each.group_rank, each.index), default=None)


def describe(pod: str, failure: Failure) -> str:
    """One failure in words, with the end of its log."""
    if failure.hang:
        who = "the ranks" if failure.rank == NO_RANK else f"rank {failure.rank} on {pod}"
        return f"{who} hung in round {failure.round}: {failure.message}"
    how = f"was ended by signal {-failure.exit_code}" if failure.exit_code < 0 else f"exited {failure.exit_code}"
    text = f"rank {failure.rank} on {pod} {how} in round {failure.round}"
    if failure.message:
        text += f": {failure.message}"
    return f"{text}\n{failure.log_tail}" if failure.log_tail else text


def error_text(failure: Failure) -> str:
    """What `onMessage` of a rule is asked about."""
    return f"{failure.message}\n{failure.log_tail}"
