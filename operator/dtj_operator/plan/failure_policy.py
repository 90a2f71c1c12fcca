"""`spec.failurePolicy`: restarts are counted here, and here the budget is spent.

The count is a number in the status, raised in the same write that records what was counted (a round by the cursor, a
pod by its uid). So an operator that dies at any point counts each end once: before the write nothing was done, after it
the evidence is used up.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtj_api.failure_policy import Action
from dtj_api.names import EXCUSED_CAUSES, Cause, ExitCode, Reason
from dtj_api.scalars import Timestamp

from .draft import Draft
from .ends import End
from .exclusion import exclude
from .recovery import interrupt

NEVER_RAN_PAUSE = 5.0
"""Seconds before a pod is made anew that ended before its container ran: a node may refuse pods as fast as it can."""
_TEXT = 4096


@dataclass(frozen=True)
class Fault:
    """Something that costs a restart."""

    cause: Cause
    message: str
    at: float
    """When training was lost by it."""
    node: str = ""
    exit_code: int | None = None
    """Negative: the signal."""
    error: str = ""
    """What `onMessage` is asked about; empty: the message."""


@dataclass(frozen=True)
class Counted:
    """What one restart means."""

    charged: bool
    replace: bool = False
    """The pod is to be replaced too, away from its node."""


def count(draft: Draft, fault: Fault, *, first: bool, stops: bool = True) -> Counted:
    """Count one restart, and start the recovery clock.

    Args:
        first: no consequence of another one, so that the user's rules speak of it and it may spend the budget.

        stops: training stands still by it.

    """
    if stops:
        interrupt(draft, fault.cause, fault.at, fault.node)
    counted = _judge(draft, fault) if first else Counted(charged=False)
    _add(draft, fault.cause, fault.message, counted.charged)
    if counted.replace or fault.cause == Cause.NODE_LOST:
        exclude(draft, fault.node, fault.message)
    return counted


def _judge(draft: Draft, fault: Fault) -> Counted:
    """What the first rule that matches says, else whether the user is to blame."""
    for number, rule in enumerate(draft.spec.failure_policy.rules):
        if rule.matches(fault.cause, fault.exit_code, fault.error or fault.message):
            if rule.action is Action.FAIL:
                text = f"failurePolicy.rules[{number}] says that this ends the job: {fault.message}"
                draft.fatal = draft.fatal or (Reason.FAILURE_RULE, text)
            return Counted(rule.action in (Action.RESTART, Action.FAIL), rule.action is Action.REPLACE_NODE)
    return Counted(fault.cause not in EXCUSED_CAUSES)


def _add(draft: Draft, cause: Cause, message: str, charged: bool) -> None:
    policy = draft.spec.failure_policy
    old = draft.status.restarts
    recent = (*old.recent, Timestamp(draft.now)) if charged else old.recent
    in_window = tuple(at for at in recent if at > draft.now - policy.window)
    restarts = old.model_copy(
        update={
            "counted": old.counted + charged,
            "excused": old.excused + (not charged),
            "by_cause": dict(sorted({**old.by_cause, cause.value: old.by_cause.get(cause, 0) + 1}.items())),
            "recent": in_window[-(policy.max_restarts + 1) :],
            "last_cause": cause.value,
            "last_message": message[-_TEXT:],
        }
    )
    draft.set(restarts=restarts)


def pause(draft: Draft, end: End, *, charged: bool) -> None:
    """Set when the lost pod may be replaced: at once after what is not charged, later and later otherwise."""
    backoff = draft.spec.failure_policy.backoff
    seconds = 0.0
    if charged:
        times = min(len(draft.status.restarts.recent), 32)
        seconds = min(backoff.max, backoff.initial * 2.0 ** max(0, times - 1))
    elif not end.ran:
        seconds = NEVER_RAN_PAUSE
    until = draft.now + seconds
    if seconds and until > (draft.status.create_after or 0.0):
        draft.set(create_after=Timestamp(until))


def verdict(draft: Draft) -> tuple[Reason, str] | None:
    """Why the job has to be given up, or None.

    The status is asked too, so that a job that was suspended meanwhile is still given up when it resumes.
    """
    if draft.fatal is not None:
        return draft.fatal
    if (known := draft.status.given_up) is not None:
        # A newer version may have written a reason of its own.
        return Reason(known.reason) if known.reason in tuple(Reason) else Reason.FAILURE_RULE, known.message
    policy = draft.spec.failure_policy
    recent = [at for at in draft.status.restarts.recent if at > draft.now - policy.window]
    if len(recent) <= policy.max_restarts:
        return None
    last = draft.status.restarts
    return (
        Reason.BUDGET_SPENT,
        f"{len(recent)} failures within {policy.window}, and failurePolicy.maxRestarts allows {policy.max_restarts} "
        f"restarts; the last one was {last.last_cause}: {last.last_message}",
    )


def note_fatal(draft: Draft, end: End, pod: str) -> None:
    """Recognise the exit codes after which no restart helps."""
    if end.exit_code == ExitCode.BAD_CONFIG:
        draft.fatal = (Reason.USER_ERROR, f"pod {pod} cannot run what it was given: {end.message}")
    elif end.exit_code == ExitCode.VOLUME_NOT_SHARED:
        draft.fatal = (
            Reason.VOLUME_NOT_SHARED,
            f"pod {pod} does not see on the volume what another worker wrote there; use a claim that all nodes mount "
            f"with ReadWriteMany: {end.message}",
        )
