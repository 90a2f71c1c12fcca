"""A job that fails ends on a cluster and by `dtj run` after the same failure, and in the same words."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NAME, NOW, Job, a_failure, a_job

from dtj_api.names import Condition, ExitCode, Reason
from dtj_api.wire import Clock, Progress, Report
from dtj_operator.plan import plan
from dtj_trainer.cli.failures import Failures
from dtj_trainer.launch.local.run import RunOver

pytestmark = pytest.mark.unit

Round = dict[str, Any]
"""One that failed: `by`, the worker whose rank failed; `step`, the last one before it, which rank 0 alone had reported;
`told` is False where the next round has not formed yet; `reached`, the step that rank 0 is known to have made; `after`,
the seconds since the one before; `behind`, the seconds that rank 0's clock is. The rest is the failure's."""
HOURS = 7200.0
BOOM: Round = {"message": "ValueError: boom", "log_tail": "line 7, in loss", "user_error": True}
SEGFAULT: Round = {"exit_code": -11}
LEAVES: Round = {"exit_code": 3, "if_repeated": "exit code 3"}
WRONG: Round = {"exit_code": ExitCode.BAD_CONFIG, "message": "DataError: bad", "user_error": True}
BUILT_IN: dict[str, Any] = {"trainer": True}
LOOSE = {"crashLoop": {"sameStep": 0, "sameError": 0}}


def rule(action: str = "Fail", **of: Any) -> dict[str, Any]:
    return {"failurePolicy": {"rules": [{**of, "action": action}], **LOOSE}}


CASES: dict[str, tuple[dict[str, Any], list[Round], Reason | None, str]] = {
    "the same error": (
        {}, [BOOM, BOOM], Reason.USER_ERROR,
        "the same error came 2 times in a row, and a restart does not help: rank 0 on ner-worker-0000 exited 1 in "
        "round 2: ValueError: boom\nline 7, in loss",
    ),
    "the same error of another rank, where rank 0 tells that training got further": (
        {}, [{**BOOM, "by": 1, "step": 10}, {**BOOM, "by": 1, "step": 20}], None, "",
    ),
    "the same error of another rank, whose step nobody has told yet": (
        {}, [{**BOOM, "by": 1, "step": 10}, {**BOOM, "by": 1, "told": False, "reached": 10}], Reason.USER_ERROR,
        "the same error came 2 times in a row, and a restart does not help: rank 0 on ner-worker-0001 exited 1 in "
        "round 2",
    ),
    "the same error, whose step nobody has told yet, where training is known to have got further": (
        {}, [{**BOOM, "by": 1, "step": 10}, {**BOOM, "by": 1, "told": False, "reached": 20}], None, "",
    ),
    "a signal, while nobody knows yet whether a peer's end explains it": (
        {"failurePolicy": {"maxRestarts": 0}}, [{**SEGFAULT, "told": False}], None, "",
    ),
    "the same exit code before the first step": (
        {}, [LEAVES, LEAVES], Reason.USER_ERROR,
        "the same error came 2 times in a row, and a restart does not help: rank 0 on ner-worker-0000 exited 3 in "
        "round 2",
    ),
    "another exit code before the first step": ({}, [LEAVES, {**LEAVES, "if_repeated": "exit code 4"}], None, ""),
    "the same exit code after steps that rank 0 alone tells": (
        {}, [{**LEAVES, "by": 1, "step": step} for step in (3, 9)], None, "",
    ),
    "the same exit code of a rank that tells no steps, where the clock of rank 0 is behind": (
        {}, [{**LEAVES, "by": 1, "step": step, "reached": 20, "behind": 4} for step in (3, 9)], None, "",
    ),
    "the same exit code before the first step, with training in between": (
        {}, [LEAVES, {**LEAVES, "reached": 10000}], None, "",
    ),
    "the same exit code before the first step, with training in between that began at an earlier step": (
        {}, [{**LEAVES, "reached": 10000}, {**LEAVES, "reached": 9000}], None, "",
    ),
    "the same exit code before the first step, where training had got further before": (
        {}, [{**LEAVES, "reached": 10000}] * 2, Reason.USER_ERROR, "the same error came 2 times in a row",
    ),
    "the same exit code before the first step, where an earlier failure had come after a later one": (
        {}, [{**SEGFAULT, "step": 57}, {**LEAVES, "reached": 50}, {**LEAVES, "reached": 50}], Reason.USER_ERROR,
        "the same error came 2 times in a row",
    ),
    "the same exit code before the first step, hours apart": (
        {}, [LEAVES, {**LEAVES, "after": HOURS}], None, "",
    ),
    "the same error before the first step, with training in between": (
        {}, [BOOM, {**BOOM, "reached": 10000}], None, "",
    ),
    "the same error after the first steps of a job that had made none": (
        {}, [BOOM, {**BOOM, "step": 10000}], None, "",
    ),
    "the same error of a script that tells no steps, hours apart": (
        {}, [BOOM, {**BOOM, "after": HOURS}], None, "",
    ),
    "the same error of a script that tells no steps, hours apart and then at once": (
        {}, [BOOM, {**BOOM, "after": HOURS}, BOOM], Reason.USER_ERROR, "the same error came 2 times in a row",
    ),
    "the same error after the same step, hours apart": (
        {}, [{**BOOM, "by": 1, "step": 10}, {**BOOM, "by": 1, "step": 10, "after": HOURS}], Reason.USER_ERROR,
        "the same error came 2 times in a row",
    ),
    "another error": ({}, [BOOM, {**BOOM, "message": "KeyError: 3"}], None, ""),
    "the same step, which rank 0 alone tells": (
        {}, [{**SEGFAULT, "by": 1, "step": 57}] * 3, Reason.CRASH_LOOP,
        "the ranks failed 3 times in a row after step 57; the last time: rank 0 on ner-worker-0001 was ended by "
        "signal 11 in round 3",
    ),
    "another step, which rank 0 alone tells": (
        {}, [{**SEGFAULT, "by": 1, "step": step} for step in (57, 57, 58)], None, "",
    ),
    "exit code 64 of the built-in trainer": (
        BUILT_IN, [WRONG], Reason.USER_ERROR,
        "restarting does not help: rank 0 on ner-worker-0000 exited 64 in round 1: DataError: bad",
    ),
    "exit code 64 of the built-in trainer, beside a rule that excuses it": (
        {**BUILT_IN, **rule("RestartExcused", onExitCodes=[64])}, [WRONG], Reason.USER_ERROR,
        "restarting does not help: rank 0 on ner-worker-0000 exited 64 in round 1: DataError: bad",
    ),
    "exit code 64 of a script, which may mean anything by it": ({}, [WRONG], None, ""),
    "the budget": (
        {"failurePolicy": {"maxRestarts": 1, **LOOSE}}, [SEGFAULT, BOOM], Reason.BUDGET_SPENT,
        "2 failures within 1h, and failurePolicy.maxRestarts allows 1 restarts; the last one was ProcessExit: rank 0 "
        "on ner-worker-0000 exited 1 in round 2: ValueError: boom\nline 7, in loss",
    ),
    "no budget": (
        {"failurePolicy": {"maxRestarts": 0}}, [SEGFAULT], Reason.BUDGET_SPENT,
        "1 failures within 1h, and failurePolicy.maxRestarts allows 0 restarts; the last one was ProcessSignal: rank "
        "0 on ner-worker-0000 was ended by signal 11 in round 1",
    ),
    "a rule by exit code": (
        rule(onExitCodes=[139]), [SEGFAULT], Reason.FAILURE_RULE,
        "failurePolicy.rules[0] says that this ends the job: rank 0 on ner-worker-0000 was ended by signal 11 in round "
        "1",
    ),
    "a rule by what the log says": (
        rule(onMessage="*line ?, in loss"), [BOOM], Reason.FAILURE_RULE,
        "failurePolicy.rules[0] says that this ends the job: rank 0 on ner-worker-0000 exited 1 in round 1: ValueError",
    ),
    "a rule by the message alone, which is not the whole text": (rule(onMessage="*: boom"), [BOOM], None, ""),
    "a hang that nobody is to blame for": (
        rule(onReasons=["Hang"]), [{"hang": True, "rank": -1, "message": "no step for 60 s"}],
        Reason.FAILURE_RULE,
        "failurePolicy.rules[0] says that this ends the job: the ranks hung in round 1: no step for 60 s",
    ),
    "an excused failure": (
        {"failurePolicy": {"maxRestarts": 0, **rule("RestartExcused", onSignals=["SIGSEGV"])["failurePolicy"]}},
        [SEGFAULT] * 3, None, "",
    ),
    "a failing volume, where that ends the job": (
        {"checkpoint": {"volume": {"claimName": "data"}, "onFailure": "Fail"}},
        [{"of_volume": True, "message": "OSError: [Errno 28] No space left on device"}], Reason.VOLUME_FAILED,
        "checkpoint.onFailure is Fail: rank 0 on ner-worker-0000 exited 1 in round 1: OSError: [Errno 28]",
    ),
    "a failing volume": ({"failurePolicy": {"maxRestarts": 0}}, [{"of_volume": True}] * 3, None, ""),
}  # fmt: skip


def reported(job: Job, rounds: list[Round]) -> list[tuple[float, Report, Report]]:
    """What the two launchers report after each round, and when."""
    failures: tuple[list[Any], list[Any]] = ([], [])
    clocks = [Clock(), Clock()]
    found = []
    at = NOW
    for number, ended in enumerate(rounds, 1):
        given = dict(ended)
        at += given.pop("after", 10)
        behind = given.pop("behind", 0)
        by, step, told = given.pop("by", 0), given.pop("step", None), given.pop("told", True)
        reached = given.pop("reached", step)
        failures[by].append(a_failure(number, at=at - 2, **given))
        if told:
            clocks = [Clock(left_at=at - 1.9 - behind, step_before=step), Clock(left_at=at - 1.9)]
        for index, progress in enumerate((Progress(step=reached, updated_at=at), Progress())):
            job.says(
                index, round=number + told, failures=tuple(failures[index]), clock=clocks[index], progress=progress
            )
        first, second = sorted((known.report for known in job.view(at).reports.values()), key=lambda each: each.index)
        found.append((at, first, second))
    return found


def on_a_cluster(job: Job, rounds: list[Round]) -> list[tuple[str, str]]:
    """The reason and the words that end the job, after each round."""
    said = []
    for at, *reports in reported(job, rounds):
        for each in reports:
            job.says(each.index, round=each.round, failures=each.failures, clock=each.clock, progress=each.progress)
        made = plan(job.view(at))
        job.stored(made.status)
        failed = made.status.condition(Condition.FAILED)
        said.append(("", "") if failed is None else (failed.reason, failed.message))
    return said


def by_dtj_run(job: Job, rounds: list[Round]) -> list[RunOver | None]:
    """How the run ends, after each round."""
    now = [NOW]
    failures = Failures(job.read_spec(), NAME, lambda: now[0])
    said = []
    for now[0], *reports in reported(job, rounds):
        said.append(failures.judge(reports))
        assert failures.judge(reports) is None, "told once"
    return said


def a_job_of(fields: dict[str, Any]) -> Job:
    given = {name: value for name, value in fields.items() if name != "trainer"}
    job = a_job().built_in() if "trainer" in fields else a_job()
    return job.replicas(2).running().spec(**given)


@pytest.mark.parametrize("case", CASES)
def test_a_job_ends_by_the_same_failure_in_the_same_words(case: str) -> None:
    fields, rounds, reason, begins = CASES[case]
    expected = on_a_cluster(a_job_of(fields), rounds)
    assert [each[0] for each in expected] == [""] * (len(rounds) - 1) + [reason or ""]
    assert expected[-1][1].startswith(begins)
    ended = by_dtj_run(a_job_of(fields), rounds)
    assert [over.message if over else "" for over in ended] == [words for _, words in expected]
    never = case.startswith("exit code 64 of the built-in trainer")
    assert [over.code for over in ended if over] == [ExitCode.BAD_CONFIG if never else ExitCode.FAILED] * bool(reason)
