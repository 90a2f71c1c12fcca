"""`spec.failurePolicy`: what happens when ranks or pods fail, and what it may cost."""

from __future__ import annotations

import signal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from .base import ApiModel, Rule, rules, with_rules
from .names import EXCUSED_CAUSES, Cause, code_of_signal
from .scalars import DURATION_LENGTH, DURATION_PATTERN, Duration, at_least

BACKOFF_ORDER = "initial is above max; lower initial or raise max"
STEP_TIMEOUT = "must be `auto` or a duration of 1s or more"
SOME_MATCH = "needs at least one of onExitCodes, onSignals, onReasons and onMessage"
Signal = Literal[
    "SIGABRT", "SIGBUS", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGKILL", "SIGQUIT", "SIGSEGV", "SIGSYS", "SIGTERM",
    "SIGTRAP", "SIGXCPU",
]  # fmt: skip


def _auto_or_duration(value: str) -> str:
    if value != "auto" and Duration.parse(value) < 1:
        raise ValueError(STEP_TIMEOUT)
    return value


class Action(StrEnum):
    """What follows a failure."""

    RESTART = "Restart"
    """Training goes on from the last checkpoint, and the restart is charged to maxRestarts."""
    RESTART_EXCUSED = "RestartExcused"
    """The same, and nothing is charged."""
    REPLACE_NODE = "ReplaceNode"
    """As RestartExcused; the pod is replaced as well, by one that avoids its node for nodeLoss.excludeFor."""
    FAIL = "Fail"
    """The job is Failed at once."""


class Backoff(ApiModel):
    """The pause before a restart, doubled with each one: of a pod with each charged restart in the window, and with
    each pod in a row that was lost before it trained, whatever the cause; of processes in their pods with each round in
    a row that ended within seconds, the first one apart."""

    model_config = with_rules(Rule("duration(self.initial) <= duration(self.max)", BACKOFF_ORDER, ".initial"))

    initial: Duration = Duration(1)
    """The first pause. Pods that run keep to the value that they were made with."""
    max: Duration = Duration(300)
    """The longest pause. Likewise."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.initial > self.max:
            raise ValueError(BACKOFF_ORDER)
        return self


class FailureRule(ApiModel):
    """What to do about failures of one kind. All that is given must match."""

    model_config = with_rules(
        Rule("has(self.onExitCodes) || has(self.onSignals) || has(self.onReasons) || has(self.onMessage)", SOME_MATCH)
    )

    on_exit_codes: Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(min_length=1, max_length=255)] | None = (
        None
    )
    """Exit code of the rank, or of the pod where no rank could say one. That of a signal is 128 + its number."""
    on_signals: Annotated[list[Signal], Field(min_length=1, max_length=13)] | None = None
    """Signal that ended the rank or the pod's container."""
    on_reasons: Annotated[list[Annotated[Cause, Field(strict=False)]], Field(min_length=1, max_length=20)] | None = None
    """Causes, as in `status.restarts.byCause`."""
    on_message: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Pattern for the whole error text, where `*` is any text and `?` one character: `*CUDA out of memory*`."""
    action: Annotated[Action, Field(strict=False)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not any((self.on_exit_codes, self.on_signals, self.on_reasons, self.on_message)):
            raise ValueError(SOME_MATCH)
        return self

    def matches(self, cause: Cause, exit_code: int | None, message: str) -> bool:
        """Whether this rule is meant.

        Args:
            cause: of the failure.
            exit_code: negative for a signal; None where nothing ran or nobody knows.
            message: the error in words.
        """
        code = code_of_signal(-exit_code) if exit_code is not None and exit_code < 0 else exit_code
        return (
            (self.on_exit_codes is None or code in self.on_exit_codes)
            and (self.on_signals is None or code in [code_of_signal(signal.Signals[name]) for name in self.on_signals])
            and (self.on_reasons is None or cause in self.on_reasons)
            and (self.on_message is None or fnmatchcase(message, self.on_message))
        )


class CrashLoop(ApiModel):
    """When failures that repeat themselves end the job, whatever is left of maxRestarts. 0: never."""

    same_step: Annotated[int, Field(ge=0, le=1000)] = 3
    """Failures of ranks or their pods in a row after the same step."""
    same_error: Annotated[int, Field(ge=0, le=1000)] = 2
    """Exceptions of the user's code in a row with the same text, after the same step where steps are reported; before
    the first step also the same exit code (1 to 125, but for 69, 75 and 124) and torch's OutOfMemoryError. A row ends
    where training is seen to get further, and after an hour, unless both are known to come after the same step. Never
    counted: signals, OSError, and errors of connections, collectives and CUDA devices."""


class Hang(ApiModel):
    """When ranks that make no step count as hung."""

    step_timeout: Annotated[
        str,
        AfterValidator(_auto_or_duration),
        Field(
            pattern=f"^auto$|{DURATION_PATTERN}",
            min_length=2,
            max_length=DURATION_LENGTH,
            json_schema_extra=rules(Rule("self == 'auto' || duration(self) >= duration('1s')", STEP_TIMEOUT)),
        ),
    ] = "auto"
    """How long a step may take. `auto`: five times the longest of the last 64, at least 60 s, or 10 m for a script that
    declares no phase (`dtj.phase`), which may evaluate between two steps. Phases other than training are not watched,
    nor the first steps of a round. A duration holds from the first step on. Pods that run keep to the value that they
    were made with."""
    action: Literal["Restart", "None"] = "Restart"
    """Restart: the stacks of all ranks are kept on the volume, and training goes on from the last checkpoint. None:
    nothing is watched."""

    @property
    def seconds(self) -> Duration | None:
        """How long a step may take; None: learned."""
        return None if self.step_timeout == "auto" else Duration.parse(self.step_timeout)


class NodeLoss(ApiModel):
    """When a node that does not answer is given up, and for how long it is avoided."""

    tolerate: Annotated[Duration, *at_least("1s")] = Duration(30)
    """How long a node may be not ready, and its launchers silent, before its pods are replaced elsewhere."""
    exclude_for: Duration = Duration(3600)
    """How long new pods of this job avoid the node, where there is room elsewhere. 0s: not at all."""


class FailurePolicy(ApiModel):
    """What happens when ranks or pods fail."""

    max_restarts: Annotated[int, Field(ge=0, le=100_000)] = 10
    """Restarts charged to the user within the window before the job is Failed. Infrastructure faults are excused."""
    window: Annotated[Duration, *at_least("1s")] = Duration(3600)
    """Restarts older than this no longer count against maxRestarts."""
    backoff: Backoff = Backoff()
    rules: Annotated[list[FailureRule], Field(max_length=32)] = Field(default_factory=list)
    """The first one that matches decides; where none does, what the infrastructure did is RestartExcused and all else
    Restart. What follows from another failure is no failure of its own."""
    hang: Hang = Hang()
    node_loss: NodeLoss = NodeLoss()
    crash_loop: CrashLoop = CrashLoop()

    def answer(self, cause: Cause, exit_code: int | None, message: str) -> tuple[Action, int | None]:
        """What follows a failure, and the number of the rule that says so; None: no rule does.

        Args: as of `FailureRule.matches`.
        """
        for number, rule in enumerate(self.rules):
            if rule.matches(cause, exit_code, message):
                return rule.action, number
        return (Action.RESTART_EXCUSED if cause in EXCUSED_CAUSES else Action.RESTART), None
