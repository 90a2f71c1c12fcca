"""`spec.failurePolicy.crashLoop`: what fails again and again in the same way is not worth another restart.

Two signs: the ranks never get past one step (also where they take their pod with them, as when it is out of memory), or
the user's code fails in the same way: by the same error, or before the first step by the same exit code or because the
device has too little memory. Neither spends hours of GPUs until maxRestarts is reached.
"""

from __future__ import annotations

from dtj_api.names import Reason
from dtj_api.rounds import step_before
from dtj_api.scalars import Timestamp
from dtj_api.status import CrashLoopStatus
from dtj_api.verdict import crash_loop, repetition
from dtj_api.wire import Failure
from dtj_operator.plan.draft import Draft


def note_repetition(draft: Draft, failure: Failure, message: str) -> None:
    """Compare a charged failure with the one before it, and give the job up when they are too many.

    Args:
        failure: the first one of its round.
        message: the failure in words, with the end of its log.
    """
    old, limits = draft.status.crash_loop, draft.spec.failure_policy.crash_loop
    step = step_before(draft.roster.said.values(), failure)
    new = repetition(old, failure, step, draft.status.progress.step)
    draft.set(crash_loop=new)
    if (why := crash_loop(limits, new, message)) is not None:
        draft.give_up(*why)


def note_failed_after(draft: Draft, step: int | None, at: Timestamp) -> None:
    """Note after which step a pod had failed, now that those who were there have told it; and give the job up when
    that came too often.

    Args:
        step: the last one before; None: nobody knows.
        at: when it had.
    """
    if step is None:
        return
    old, limit = draft.status.crash_loop, draft.spec.failure_policy.crash_loop.same_step
    times = old.same_step + 1 if step == old.step else 1
    draft.set(crash_loop=CrashLoopStatus(step=step, same_step=times, at=at))
    if limit and times >= limit:
        last = draft.status.restarts.last_message
        text = f"workers failed {times} times in a row after step {step}; the last time: {last}"
        draft.give_up(Reason.CRASH_LOOP, text)
        # The verdict of this reconcile is passed.
        draft.wake(draft.now)
