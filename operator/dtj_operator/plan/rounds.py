"""A process died: a new round in the same pods, counted once for the whole job.

Every launcher tells the failures that it saw. One cursor, (incarnation, round), says what has been counted, and the
first failure of a round gives its cause: the others are peers that lost their partner. The newest round waits for its
count until its successor has formed, or the error is certainly the user's: connections also break when a peer's *pod*
is lost, and that end belongs to the pod.
"""

from __future__ import annotations

from dtj_api.names import Cause, ExitCode, Reason
from dtj_api.status import RoundCursor
from dtj_api.wire import Failure

from .draft import Draft
from .failure_policy import count


def count_rounds(draft: Draft) -> None:
    """Count the rounds of this incarnation that ended by a failure, oldest first."""
    for number, (pod, first) in uncounted(draft).items():
        if not _certain(draft, number):
            return
        message = describe(pod, first)
        count(draft, _cause(first), message, charged=True)
        draft.set(counted=RoundCursor(incarnation=draft.status.incarnation, round=number))
        draft.tell("Warning", Reason.RANK_FAILED, message)
        draft.trouble = (Reason.RANK_FAILED, message)
        if first.exit_code == ExitCode.BAD_CONFIG:
            draft.fatal = (Reason.USER_ERROR, f"restarting does not help: {message}")


def uncounted(draft: Draft) -> dict[int, tuple[str, Failure]]:
    """Round to pod and first failure, for the ended rounds of this incarnation that are not counted, oldest first."""
    incarnation = draft.status.incarnation
    counted = draft.status.counted
    done = counted.round if counted.incarnation == incarnation else 0
    first: dict[int, tuple[str, Failure]] = {}
    for index, report in draft.reports().items():
        for failure in report.failures:
            if failure.incarnation != incarnation or failure.round <= done:
                continue
            known = first.get(failure.round)
            if known is None or (failure.at, failure.rank) < (known[1].at, known[1].rank):
                first[failure.round] = (draft.workers[index].name, failure)
    return dict(sorted(first.items()))


def describe(pod: str, failure: Failure) -> str:
    """One failure in words, with the end of its log."""
    how = f"was ended by signal {-failure.exit_code}" if failure.exit_code < 0 else f"exited {failure.exit_code}"
    text = f"rank {failure.rank} on {pod} {how} in round {failure.round}"
    if failure.message:
        text += f": {failure.message}"
    return f"{text}\n{failure.log_tail}" if failure.log_tail else text


def _certain(draft: Draft, number: int) -> bool:
    if number < _newest(draft):
        return True
    return any(
        failure.round == number and failure.incarnation == draft.status.incarnation and failure.user_error
        for report in draft.reports().values()
        for failure in report.failures
    )


def _newest(draft: Draft) -> int:
    return max((report.round for report in draft.reports().values()), default=0)


def _cause(failure: Failure) -> Cause:
    return Cause.PROCESS_SIGNAL if failure.exit_code < 0 else Cause.PROCESS_EXIT
