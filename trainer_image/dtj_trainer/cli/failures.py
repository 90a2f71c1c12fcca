"""`spec.failurePolicy` on this machine: when failures of ranks end a run, judged by what the operator judges by.

The operator is no part of the trainer's image, so it cannot be asked. Here are no pods and no nodes: what is left of
its policy are the rules, the budget within its window, the failures that repeat themselves, and those that no restart
mends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from dtj_api.failure_policy import Action
from dtj_api.names import ExitCode, worker_name
from dtj_api.rounds import Ended, describe, error_text, first_failures, is_certain, speaker, step_before
from dtj_api.spec import JobSpec
from dtj_api.status import CrashLoopStatus
from dtj_api.verdict import Verdict, by_rule, cannot_run, crash_loop, over_budget, repetition, volume_failed
from dtj_api.wire import Failure, Report
from dtj_trainer.launch.local.run import RunOver


class Failures:
    """The failures of a run.

    Args:
        spec: of the job.
        name: of the job.
        now: seconds on a clock that runs evenly.
    """

    def __init__(self, spec: JobSpec, name: str, now: Callable[[], float] = time.monotonic) -> None:
        self._spec = spec
        self._name = name
        self._now = now
        self._counted: Ended = (0, 0)
        self._charged: list[float] = []
        self._repeated = CrashLoopStatus()
        self._reached: int | None = None

    def judge(self, reports: Sequence[Report]) -> RunOver | None:
        """How the run ends, by what the launchers tell; None while it goes on."""
        said = {report.index: report for report in reports}
        leader = speaker(reports)
        if leader is not None and leader.progress.step is not None:
            self._reached = leader.progress.step
        present = max((report.incarnation for report in reports), default=0)
        for ended, (index, first) in first_failures(said, self._counted, present).items():
            if not is_certain(reports, ended):
                return None
            self._counted = ended
            words = describe(first.pod or worker_name(self._name, index), first)
            if why := cannot_run(self._spec, first, words):
                return RunOver(ExitCode.BAD_CONFIG, why.message)
            step = step_before(reports, first)
            if why := next((why for why in self._count(first, step, words) if why is not None), None):
                return RunOver(ExitCode.FAILED, why.message)
        return None

    def _count(self, first: Failure, step: int | None, words: str) -> Iterable[Verdict | None]:
        """Count one failure; what says that it ends the run, in the order in which they have the last word."""
        policy = self._spec.failure_policy
        action, rule = policy.answer(first.cause, first.exit_code, error_text(first))
        if rule is not None and action is Action.FAIL:
            yield by_rule(rule, words)
        charged = action in (Action.RESTART, Action.FAIL)
        if charged:
            now = self._now()
            self._charged = [at for at in self._charged if at > now - policy.window] + [now]
            self._repeated = repetition(self._repeated, first, step, self._reached)
            yield crash_loop(policy.crash_loop, self._repeated, words)
        yield volume_failed(self._spec, first, words)
        if charged:
            yield over_budget(policy, len(self._charged), f"{first.cause}: {words}")
