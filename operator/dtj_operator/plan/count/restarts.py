"""`status.restarts`: each restart is counted once, under its cause, and charged or excused by `spec.failurePolicy`.

The count is a number in the status, raised in the same write that records what was counted (a round by the cursor, a
pod by its uid). So an operator that dies at any point counts each end once: before the write nothing was done, after it
the evidence is used up.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtj_api.failure_policy import Action
from dtj_api.names import Cause
from dtj_api.scalars import Timestamp
from dtj_api.verdict import by_rule
from dtj_operator.plan.draft import Draft

from .excluded_nodes import exclude
from .interruption import interrupt

_TEXT = 4096
RECENT = 1000
"""Most times of restarts that the status keeps, since 100,000 would be more than can be stored. A budget of as many or
more is spent by all restarts of the job, once so many have come within the window."""


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
    policy = draft.spec.failure_policy
    action, rule = policy.answer(fault.cause, fault.exit_code, fault.error or fault.message)
    if rule is not None and action is Action.FAIL:
        draft.give_up(*by_rule(rule, fault.message))
    return Counted(action in (Action.RESTART, Action.FAIL), action is Action.REPLACE_NODE)


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
            "recent": in_window[-min(policy.max_restarts + 1, RECENT) :],
            "last_cause": cause.value,
            "last_message": message[-_TEXT:],
        }
    )
    draft.set(restarts=restarts)
