"""What is told of a failure, and whose fault it is said to be."""

import os
import signal

import pytest

from dtj_trainer.launch.errors import describe, is_user_error, read_error


@pytest.mark.parametrize(
    ("how", "message", "user_error", "exit_code"),
    [
        ("value", "ValueError: bad label 7", True, 1),
        ("os", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'", False, 1),
        ("connection", "ConnectionResetError: peer gone", False, 1),
        ("exit", "", False, 3),
        ("config", "", True, 64),
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
    assert "launch/rank.py" not in output


class DistBackendError(RuntimeError):
    pass


class AcceleratorError(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("error", "user"),
    [
        (ValueError("x"), True),
        (KeyError("x"), True),
        (AssertionError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), True),
        (NotImplementedError("gloo"), True),
        (OSError(28, "No space left on device"), False),
        (TimeoutError(), False),
        (BrokenPipeError(), False),
        (MemoryError(), False),
        (DistBackendError("NCCL error"), False),
        (AcceleratorError("CUDA error: an illegal memory access"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer"), False),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"), False),
    ],
)
def test_whose_fault(error, user):
    assert is_user_error([kind.__name__ for kind in type(error).__mro__], str(error)) is user
    assert describe(error)[2] is user


@pytest.mark.parametrize(
    ("text", "message", "user"),
    [
        ('{"message": {"message": "TypeError: x", "extraInfo": {"py_callstack": "t"}}}', "TypeError: x", True),
        ('{"message": {"message": "ConnectionError: x"}}', "ConnectionError: x", False),
        ('{"message": "torch.distributed.DistNetworkError: x"}', "torch.distributed.DistNetworkError: x", False),
        ('{"message": {"message": "SaveError: x"}}', "SaveError: x", False),
        ('{"message": {"message": "RestoreError: x"}}', "RestoreError: x", False),
    ],
)
def test_what_torchs_record_wrote_is_read(tmp_path, text, message, user):
    (tmp_path / "error.json").write_text(text)
    error = read_error(tmp_path / "error.json")
    assert (error.message, error.user_error) == (message, user)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"message": 3}', '{"message": {"message": 3}}'])
def test_an_error_file_that_is_none_is_ignored(tmp_path, text):
    (tmp_path / "error.json").write_text(text)
    assert read_error(tmp_path / "error.json") is None
    assert read_error(tmp_path / "none.json") is None
