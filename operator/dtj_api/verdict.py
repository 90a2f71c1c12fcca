"""When failures of ranks end a job, and in which words: judged by this on a cluster and by `dtj run` alike."""

from __future__ import annotations

from typing import NamedTuple

from .checkpoint import OnFailure
from .failure_policy import CrashLoop, FailurePolicy
from .names import ExitCode, Reason
from .scalars import Timestamp
from .spec import JobSpec
from .status import CrashLoopStatus
from .wire import Failure

_TEXT = 1024
_IN_A_ROW = 3600.0
"""Seconds between two failures after which they are in no row, unless they are known to come after the same step: a
script that tells no steps has most likely trained in between."""


class Verdict(NamedTuple):
    """Why a job fails."""

    reason: Reason
    message: str


def by_rule(number: int, said: str) -> Verdict:
    """A rule of failurePolicy says so.

    Args:
        number: of the rule.
        said: the failure in words.
    """
    return Verdict(Reason.FAILURE_RULE, f"failurePolicy.rules[{number}] says that this ends the job: {said}")


def over_budget(policy: FailurePolicy, failures: int, last: str) -> Verdict | None:
    """More restarts than `maxRestarts` allows within `window`.

    Args:
        policy: of the job.
        failures: that were charged within the window.
        last: cause and words of the last one.
    """
    if failures <= policy.max_restarts:
        return None
    return Verdict(
        Reason.BUDGET_SPENT,
        f"{failures} failures within {policy.window}, and failurePolicy.maxRestarts allows {policy.max_restarts} "
        f"restarts; the last one was {last}",
    )


def cannot_run(spec: JobSpec, failure: Failure, said: str) -> Verdict | None:
    """The built-in trainer exits 64 where it cannot run what it was given: whatever the policy says, it never will.

    What a script of the user's own means by its codes is its own affair.
    """
    if failure.exit_code != ExitCode.BAD_CONFIG or spec.trainer is None:
        return None
    return Verdict(Reason.USER_ERROR, f"restarting does not help: {said}")


def volume_failed(spec: JobSpec, failure: Failure, said: str) -> Verdict | None:
    """The volume failed under the ranks, where `checkpoint.onFailure` is Fail."""
    return checkpoint_failed(spec, Reason.VOLUME_FAILED, said) if failure.of_volume else None


def checkpoint_failed(spec: JobSpec, reason: Reason, said: str) -> Verdict | None:
    """Checkpoints do not reach the volume, where `checkpoint.onFailure` is Fail."""
    if spec.checkpoint is None or spec.checkpoint.on_failure is not OnFailure.FAIL:
        return None
    return Verdict(reason, f"checkpoint.onFailure is Fail: {said}")


def repetition(old: CrashLoopStatus, failure: Failure, step: int | None, reached: int | None) -> CrashLoopStatus:
    """How often a charged failure has repeated itself.

    Args:
        old: that of the one before it.
        failure: the first one of its round.
        step: the last one before it; None: nobody has told it yet.
        reached: the last step that the job is known to have made.
    """
    error = failure.users_error(step)[:_TEXT]
    made = _furthest(step, reached)
    elsewhere = step != old.step if None not in (step, old.step) else _has_trained(old, failure, made)
    known = 0 if elsewhere else old.same_step
    return CrashLoopStatus(
        step=old.step if step is None else step,
        same_step=known + 1 if step is not None else known,
        error=error,
        # The same words after another step may be another matter: training did get further.
        same_error=(old.same_error if error == old.error and not elsewhere else 0) + 1 if error else 0,
        reached=made if elsewhere else _furthest(made, old.reached),
        at=Timestamp(failure.at),
    )


def _has_trained(old: CrashLoopStatus, failure: Failure, made: int | None) -> bool:
    """Whether training went on between two failures of which nobody has told that they came after the same step."""
    if old.at is None or failure.at - old.at > _IN_A_ROW:
        return True
    before = old.step if old.reached is None else old.reached
    if made is None or before is None:
        return made is not None
    # Before a first step no progress is told: where it is another one, steps were made in between, from a checkpoint
    # on. All else may come while progress is told, and what is known of it is seconds old.
    return made != before if failure.if_repeated else made > before


def _furthest(*steps: int | None) -> int | None:
    return max((each for each in steps if each is not None), default=None)


def crash_loop(limits: CrashLoop, new: CrashLoopStatus, said: str) -> Verdict | None:
    """The user's code raises the same error, or the ranks never get past one step.

    Args:
        limits: of the job.
        new: how often this failure has repeated itself.
        said: the failure in words.
    """
    if limits.same_error and new.same_error >= limits.same_error:
        text = f"the same error came {new.same_error} times in a row, and a restart does not help: {said}"
        return Verdict(Reason.USER_ERROR, text)
    if limits.same_step and new.same_step >= limits.same_step:
        text = f"the ranks failed {new.same_step} times in a row after step {new.step}; the last time: {said}"
        return Verdict(Reason.CRASH_LOOP, text)
    return None
