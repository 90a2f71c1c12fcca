"""What is told of a failure of ranks."""

import os
import signal

import pytest

from dtj_api.names import Env
from dtj_trainer.launch.ranks.errors import MAX_TEXT


@pytest.mark.parametrize(
    ("how", "message", "user_error", "exit_code"),
    [
        ("value", "ValueError: bad label 7", True, 1),
        ("os", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'", True, 1),
        ("connection", "ConnectionResetError: peer gone", False, 1),
        ("exit", "", False, 3),
        ("config", "the last line before", True, 64),
        ("usage", "fails.py: error: unrecognized arguments: --epoch", True, 2),
        ("late os", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'", False, 1),
        ("late usage", "", False, 2),
        ("usage of the world", "", False, 2),
        ("abort", "", False, -6),
    ],
)
def test_the_failure_of_a_rank_is_told(start, how, message, user_error, exit_code):
    job = start(1, "fails.py", how)
    reports = job.wait_reports("a failure", lambda r: r.failures)
    failure = reports[0].failures[0]
    assert (failure.message, failure.user_error, failure.exit_code) == (message, user_error, exit_code)
    assert "the last line before" in failure.log_tail
    text = job.wait("the termination log", lambda: (p := job.termination_log(0)).exists() and p.read_text())
    assert len(text.encode()) <= 4096
    assert (message or "the last line before") in text
    assert job.workers[0].process.exit is None


@pytest.mark.parametrize(
    ("how", "message", "user_error"),
    [
        ("value", "ValueError: bad label 7", True),
        ("late value", "ValueError: bad label 7", True),
        ("long", f"ValueError: {'标签无法识别 ' * 300}"[:MAX_TEXT], True),
        ("os", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'", True),
        ("connection", "ConnectionResetError: peer gone", False),
        ("exit", "", False),
        ("late usage", "", False),
    ],
)
def test_the_error_of_a_program_that_records_none_is_read_from_its_last_lines(start, how, message, user_error):
    job = start(1, "fails.py", how, env={Env.LAUNCHER_PRELOAD: "false"})
    reports = job.wait_reports("a failure", lambda r: r.failures)
    failure = reports[0].failures[0]
    assert (failure.message, failure.user_error) == (message, user_error)


@pytest.mark.parametrize("preload", ["true", "false"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "exit code 3"),
        ("text", "exit code 1"),
        ("memory", "OutOfMemoryError"),
        # After a step it is another matter.
        ("late exit", ""),
        ("late memory", ""),
        # The world's, whatever the script makes of it; and what is the user's the first time.
        ("connection", ""),
        ("caught", ""),
        ("text of the world", ""),
        ("words after the world", ""),
        ("unavailable", ""),
        ("try again", ""),
        ("timeout", ""),
        ("abort", ""),
        ("not found", ""),
        ("value", ""),
    ],
)
def test_what_would_be_the_users_if_it_came_again_is_told(start, how, words, preload):
    job = start(1, "fails.py", how, env={Env.LAUNCHER_PRELOAD: preload})
    reports = job.wait_reports("a failure", lambda r: r.failures)
    failure = reports[0].failures[0]
    assert (failure.if_repeated, failure.user_error) == (words, how == "value")


def test_the_first_failure_of_a_round_is_the_one_that_counts(start):
    job = start(3, "one_of_three.py")
    reports = job.wait_reports("the second round", lambda r: r.round == 2)
    told = [(r.index, f.rank, f.message) for r in reports for f in r.failures]
    assert told == [(1, 1, "ValueError: bad label")]


def test_a_failure_that_was_survived_explains_no_later_end(start):
    job = start(1, "train.py", "1000000")
    job.wait_step(3)
    job.kill_rank(0)
    job.wait("the failure", lambda: (p := job.termination_log(0)).exists() and "signal 9" in p.read_text())
    job.wait_step(3, round=2)
    job.wait("that it is forgotten", lambda: job.termination_log(0).read_text() == "")


def test_a_pod_that_is_told_to_leave_ends_by_that_and_not_by_a_failure_before(start):
    job = start(1, "fails.py", "value")
    job.wait("the failure", lambda: (p := job.termination_log(0)).exists() and "bad label" in p.read_text())
    os.kill(job.workers[0].process.pid, signal.SIGTERM)
    job.exit_code(job.workers[0])
    assert "bad label" not in job.termination_log(0).read_text()


def test_a_traceback_begins_with_the_script(start):
    job = start(1, "fails.py", "value")
    job.wait_reports("a failure", lambda r: r.failures)
    output = job.output()
    assert "Traceback" in output
    assert "fails.py" in output
    assert "launch/ranks/rank.py" not in output
