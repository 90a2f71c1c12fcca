"""`spec.failurePolicy` on this machine: when failures of ranks end a run, in the words that the operator has for it.

The operator is no part of the trainer's image, so it cannot be asked. Here are no pods and no nodes: what is left of
its policy are the rules, the budget within its window, and the failures that repeat themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dtj_api.failure_policy import Action, FailurePolicy
from dtj_api.names import EXCUSED_CAUSES
from dtj_api.wire import Failure, Report

SETTLE = 1.0
"""Seconds after which all ranks have told of a round: the first failure gives its cause, the others follow from it."""


class Failures:
    """The failures of a run."""

    def __init__(self, policy: FailurePolicy, now: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._now = now
        self._seen: dict[tuple[int, int], float] = {}
        self._judged: set[tuple[int, int]] = set()
        self._charged: list[float] = []
        self._step: int | None = None
        self._same_step = 0
        self._error = ""
        self._same_error = 0

    def judge(self, reports: Sequence[Report]) -> str:
        """Why the run is over, by what the launchers tell; empty while it goes on."""
        now = self._now()
        told = [failure for report in reports for failure in report.failures]
        for failure in told:
            self._seen.setdefault((failure.incarnation, failure.round), now)
        for ended in sorted(self._seen.keys() - self._judged):
            of_round = [failure for failure in told if (failure.incarnation, failure.round) == ended]
            if of_round and now - self._seen[ended] >= SETTLE:
                self._judged.add(ended)
                steps = [failure.step for failure in of_round if failure.step is not None]
                if words := self._count(min(of_round, key=lambda failure: failure.at), max(steps, default=None), now):
                    return words
        return ""

    def _count(self, failure: Failure, step: int | None, now: float) -> str:
        said = f"rank {failure.rank}: {failure.message or f'ended with exit code {failure.exit_code}'}"
        cause = failure.cause
        charged = cause not in EXCUSED_CAUSES
        for number, rule in enumerate(self._policy.rules):
            if rule.matches(cause, failure.exit_code, failure.message):
                if rule.action is Action.FAIL:
                    return f"failurePolicy.rules[{number}] says that this ends the job: {said}"
                charged = rule.action is Action.RESTART
                break
        if not charged:
            return ""
        self._charged = [at for at in self._charged if at > now - self._policy.window] + [now]
        if words := self._repeated(failure, step, said):
            return words
        if len(self._charged) <= self._policy.max_restarts:
            return ""
        return (
            f"{len(self._charged)} failures within {self._policy.window}, and failurePolicy.maxRestarts allows "
            f"{self._policy.max_restarts} restarts; the last one was {cause}: {said}"
        )

    def _repeated(self, failure: Failure, step: int | None, said: str) -> str:
        limits, elsewhere = self._policy.crash_loop, step is not None and step != self._step
        self._same_step = (0 if elsewhere else self._same_step) + (step is not None)
        error = failure.message if failure.user_error else ""
        again = error and error == self._error and not (elsewhere and self._step is not None)
        self._same_error = self._same_error + 1 if again else int(bool(error))
        self._error, self._step = error, self._step if step is None else step
        if limits.same_error and self._same_error >= limits.same_error:
            return f"the same error came {self._same_error} times in a row, and a restart does not help: {said}"
        if limits.same_step and self._same_step >= limits.same_step:
            return f"the ranks failed {self._same_step} times in a row after step {step}; the last time: {said}"
        return ""
