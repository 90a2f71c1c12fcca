"""`spec.failurePolicy.crashLoop`: what fails again and again in the same way is not worth another restart.

Two signs: the ranks never get past one step (also where they take their pod with them, as when it is out of memory), or
the user's code raises the same error. Neither spends hours of GPUs
until maxRestarts is reached.
"""

from __future__ import annotations

from dtj_api.names import Reason
from dtj_api.status import CrashLoopStatus
from dtj_api.wire import Failure
from dtj_operator.plan.draft import Draft

_TEXT = 1024


def note_repetition(draft: Draft, ended: tuple[int, int], failure: Failure, message: str) -> None:
    """Compare a charged failure with the one before it, and give the job up when they are too many.

    Args:
        ended: incarnation and round that it ended.
        failure: the first one of that round.
        message: the failure in words, with the end of its log.
    """
    old, limits = draft.status.crash_loop, draft.spec.failure_policy.crash_loop
    step, error = _step(draft, ended, failure), failure.message[:_TEXT] if failure.user_error else ""
    elsewhere = _elsewhere(draft, step, old.step)
    known = 0 if elsewhere else old.same_step
    new = CrashLoopStatus(
        step=old.step if step is None else step,
        same_step=known + 1 if step is not None else known,
        error=error,
        # The same words after another step may be another matter: training did get further.
        same_error=(old.same_error if error == old.error and not elsewhere else 0) + 1 if error else 0,
    )
    draft.set(crash_loop=new)
    if limits.same_error and new.same_error >= limits.same_error:
        text = f"the same error came {new.same_error} times in a row, and a restart does not help: {message}"
        draft.give_up(Reason.USER_ERROR, text)
    elif limits.same_step and new.same_step >= limits.same_step:
        text = f"the ranks failed {new.same_step} times in a row after step {step}; the last time: {message}"
        draft.give_up(Reason.CRASH_LOOP, text)


def note_failed_after(draft: Draft, step: int | None) -> None:
    """Note after which step a pod had failed, now that those who were there have told it; and give the job up when
    that came too often.

    Args:
        step: the last one before; None: nobody knows.
    """
    if step is None:
        return
    old, limit = draft.status.crash_loop, draft.spec.failure_policy.crash_loop.same_step
    times = old.same_step + 1 if step == old.step else 1
    draft.set(crash_loop=CrashLoopStatus(step=step, same_step=times))
    if limit and times >= limit:
        last = draft.status.restarts.last_message
        text = f"workers failed {times} times in a row after step {step}; the last time: {last}"
        draft.give_up(Reason.CRASH_LOOP, text)
        # The verdict of this reconcile is passed.
        draft.wake(draft.now)


def _elsewhere(draft: Draft, step: int | None, before: int | None) -> bool:
    """Whether the failure came at another point of the training than the one before it."""
    if before is None:
        return False
    if step is not None:
        return step != before
    # Nobody has told the step yet: it is the same one, unless the job is known to have got further.
    reached = draft.status.progress.step
    return reached is not None and reached > before


def _step(draft: Draft, ended: tuple[int, int], failure: Failure) -> int | None:
    """The last step before the failure: often rank 0 alone reports steps, and another one failed."""
    if failure.step is not None:
        return failure.step
    known = [
        report.clock.step_before
        for report in draft.roster.said.values()
        if (report.incarnation, report.round) > ended
        and report.clock.left_at is not None
        and report.clock.left_at >= failure.at
    ]
    return max((step for step in known if step is not None), default=None)
