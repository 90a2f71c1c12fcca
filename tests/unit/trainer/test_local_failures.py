"""When failures end a run on this machine, beyond what `test_same_verdicts` compares with a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import a_job

from dtj_api.wire import Failure, Report
from dtj_trainer.cli.failures import Failures

pytestmark = pytest.mark.unit


def crash(at: float, message: str = "", **changes: Any) -> dict[str, Any]:
    values = {"incarnation": 1, "rank": 0, "local_rank": 0, "exit_code": 1, "log_tail": "", "user_error": bool(message)}
    return {**values, "at": at, "message": message, **changes}


def words(policy: dict[str, Any], *rounds: dict[str, Any] | list[dict[str, Any]], apart: float = 10.0) -> list[str]:
    """What is said after each round. A round is one failure, or several in the order in which they are told."""
    now = [0.0]
    spec = a_job().spec(failurePolicy=policy).read_spec()
    failures = Failures(spec, "own", lambda: now[0])
    told: list[Failure] = []
    said = []
    for number, of_round in enumerate(rounds, 1):
        for each in of_round if isinstance(of_round, list) else [of_round]:
            told.append(Failure(round=number, **each))
        over = failures.judge([Report("uid", 0, "training", 1, number + 1, 2, 0, failures=tuple(told))])
        said.append(over.message if over else "")
        now[0] += apart
    return said


LOOSE = {"crashLoop": {"sameError": 0, "sameStep": 0}}


def test_the_budget_counts_rounds_and_not_ranks() -> None:
    peers = [crash(2, "lost its peer", rank=1), crash(1, "ValueError: a")]
    said = words({"maxRestarts": 1, **LOOSE}, peers, crash(3, "KeyError: b"))
    assert said[0] == ""
    assert said[1] == (
        "2 failures within 1h, and failurePolicy.maxRestarts allows 1 restarts; the last one was ProcessExit: "
        "rank 0 on own-worker-0000 exited 1 in round 2: KeyError: b"
    )


def test_the_budget_is_that_of_the_window() -> None:
    said = words({"maxRestarts": 1, "window": "15s", **LOOSE}, *[crash(at) for at in range(5)], apart=20.0)
    assert said == [""] * 5


RULES = {
    "a code that ends the job": (
        {"onExitCodes": [3], "action": "Fail"},
        crash(1, exit_code=3),
        "failurePolicy.rules[0] says that this ends the job: rank 0 on own-worker-0000 exited 3 in round 1",
    ),
    "a text that is excused": ({"onMessage": "*preempted*", "action": "RestartExcused"}, crash(1, "E: preempted"), ""),
    "a hang that is excused": ({"onReasons": ["Hang"], "action": "RestartExcused"}, crash(1, hang=True), ""),
    "a signal that is excused": ({"onSignals": ["SIGKILL"], "action": "ReplaceNode"}, crash(1, exit_code=-9), ""),
}


@pytest.mark.parametrize("case", RULES)
def test_the_first_rule_that_matches_decides(case: str) -> None:
    rule, failure, says = RULES[case]
    assert words({"maxRestarts": 0, "rules": [rule], **LOOSE}, failure) == [says]
