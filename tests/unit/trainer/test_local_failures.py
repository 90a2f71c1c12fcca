"""When failures end a run on this machine: the rules, the budget and what repeats itself, as in a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from dtj_api.base import read
from dtj_api.failure_policy import FailurePolicy
from dtj_api.wire import Failure, Report
from dtj_trainer.cli.failures import Failures

pytestmark = pytest.mark.unit


def crash(at: float, message: str = "", **changes: Any) -> dict[str, Any]:
    values = {"incarnation": 1, "rank": 0, "local_rank": 0, "exit_code": 1, "log_tail": "", "user_error": bool(message)}
    return {**values, "at": at, "message": message, **changes}


def words(policy: dict[str, Any], *rounds: dict[str, Any] | list[dict[str, Any]], apart: float = 10.0) -> list[str]:
    """What is said after each round. A round is one failure, or several in the order in which they are told."""
    now = [0.0]
    failures = Failures(read(FailurePolicy, policy, "failurePolicy"), lambda: now[0])
    told: list[Failure] = []
    said = []
    for number, of_round in enumerate(rounds):
        for each in of_round if isinstance(of_round, list) else [of_round]:
            told.append(Failure(round=number, **each))
            report = Report("uid", 0, "training", 1, number, 2, 0, failures=tuple(told))
            assert failures.judge([report]) == "", "peers may tell of an earlier one still"
        now[0] += apart
        said.append(failures.judge([report]))
        assert failures.judge([report]) == "", "told once"
    return said


LOOSE = {"crashLoop": {"sameError": 0, "sameStep": 0}}


def test_the_budget_counts_rounds_and_not_ranks() -> None:
    peers = [crash(2, "lost its peer", rank=1), crash(1, "ValueError: a")]
    said = words({"maxRestarts": 1, **LOOSE}, peers, crash(3, "KeyError: b"))
    assert said[0] == ""
    assert said[1] == (
        "2 failures within 1h, and failurePolicy.maxRestarts allows 1 restarts; the last one was ProcessExit: "
        "rank 0: KeyError: b"
    )


def test_the_budget_is_that_of_the_window() -> None:
    said = words({"maxRestarts": 1, "window": "15s", **LOOSE}, *[crash(at) for at in range(5)], apart=20.0)
    assert said == [""] * 5


RULES = {
    "a code that ends the job": (
        {"onExitCodes": [3], "action": "Fail"},
        crash(1, exit_code=3),
        "failurePolicy.rules[0] says that this ends the job: rank 0: ended with exit code 3",
    ),
    "a text that is excused": ({"onMessage": "*preempted*", "action": "RestartExcused"}, crash(1, "E: preempted"), ""),
    "a hang that is excused": ({"onReasons": ["Hang"], "action": "RestartExcused"}, crash(1, hang=True), ""),
    "a signal that is excused": ({"onSignals": ["SIGKILL"], "action": "ReplaceNode"}, crash(1, exit_code=-9), ""),
}


@pytest.mark.parametrize("case", RULES)
def test_the_first_rule_that_matches_decides(case: str) -> None:
    rule, failure, says = RULES[case]
    assert words({"maxRestarts": 0, "rules": [rule], **LOOSE}, failure) == [says]


def test_a_failing_volume_is_charged_to_nobody() -> None:
    assert words({"maxRestarts": 0}, crash(1, of_volume=True)) == [""]


def test_the_same_error_twice_ends_the_run_unless_training_got_further() -> None:
    assert words({}, crash(1, "ValueError: a"), crash(2, "ValueError: b"))[1] == ""
    assert words({}, crash(1, "ValueError: a", step=5), crash(2, "ValueError: a", step=9))[1] == ""
    assert words({}, crash(1, "ValueError: a"), crash(2, "ValueError: a"))[1] == (
        "the same error came 2 times in a row, and a restart does not help: rank 0: ValueError: a"
    )


def test_ranks_that_never_get_past_a_step_end_the_run() -> None:
    said = words({}, *[crash(at, exit_code=-11, step=7) for at in range(3)])
    assert said[:2] == ["", ""]
    assert said[2].startswith("the ranks failed 3 times in a row after step 7; the last time: rank 0: ended with")
