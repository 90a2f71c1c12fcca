"""The small parts: pauses, the metrics page, logs that never block, the termination message."""

import os
import threading

import pytest

from dtj_api.names import TrainMetric
from dtj_api.wire import Failure
from dtj_trainer.launch.backoff import Backoff
from dtj_trainer.launch.board import Board
from dtj_trainer.launch.logs import KEPT_ROUNDS, LogFile, Logs, Sink
from dtj_trainer.launch.metrics import HELP, render
from dtj_trainer.launch.stall import Timeout
from dtj_trainer.launch.termination import describe_failure, write_termination
from dtj_trainer.launch.training import Training


@pytest.mark.parametrize(
    ("lengths", "pauses"),
    [
        ([1], [0]),
        ([1, 1, 1, 1], [0, 1, 2, 4]),
        ([100, 1, 100, 1, 1], [0, 0, 0, 0, 1]),
        ([0] * 10, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]),
    ],
)
def test_rounds_that_end_soon_are_begun_ever_later(lengths, pauses):
    backoff = Backoff(1.0, 60.0)
    now, found = 0.0, []
    for length in lengths:
        backoff.begin(now)
        now += length
        found.append(backoff.next_pause(now))
        now += found[-1]
    assert found == pauses


def a_board(training: Training | None = None) -> Board:
    board = Board("uid", 0, "fork", Timeout())
    board.training = training or board.training
    return board


def page(board: Board | Training, job="ner") -> dict[str, str]:
    board = board if isinstance(board, Board) else a_board(board)
    lines = render(job, board).decode().splitlines()
    assert all(line.startswith(("# HELP dtj_train_", "# TYPE dtj_train_", "dtj_train_")) for line in lines)
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_the_page_shows_what_ranks_report():
    training = Training(Timeout())
    training.begin_round({0: 4, 1: 5})
    for step in (1, 2):
        said = {"type": "report", "step": step, "loss": 0.5, "tokens_done": 100.0 * step, "step_seconds": 0.3}
        training.take(0, said)
    training.take(1, {"type": "report", "step": 2, "loss": "nan"})
    found = page(training)
    assert found['dtj_train_step{job_name="ner",rank="4"}'] == "2"
    assert found['dtj_train_loss{job_name="ner",rank="4"}'] == "0.5"
    assert found['dtj_train_loss{job_name="ner",rank="5"}'] == "NaN"
    assert found['dtj_train_tokens_total{job_name="ner",rank="4"}'] == "200"
    assert found['dtj_train_step_seconds_bucket{job_name="ner",rank="4",le="0.25"}'] == "0"
    assert found['dtj_train_step_seconds_bucket{job_name="ner",rank="4",le="0.5"}'] == "2"
    assert found['dtj_train_step_seconds_bucket{job_name="ner",rank="4",le="+Inf"}'] == "2"
    assert found['dtj_train_step_seconds_count{job_name="ner",rank="4"}'] == "2"
    assert training.progress().loss == 0.5


def test_the_page_shows_what_the_launcher_knows_of_its_pod():
    board = a_board()
    board.set(0, world_size=8)
    for _ in range(3):
        board.begin_round()
    board.found_damaged("step-20.i1: model is missing")
    found = page(board)
    assert found['dtj_train_world_size{job_name="ner"}'] == "8"
    assert found['dtj_train_restarts_total{job_name="ner"}'] == "2"
    assert found['dtj_train_checkpoints_damaged_total{job_name="ner"}'] == "1"


def test_counters_never_go_back_and_the_jobs_totals_do():
    training = Training(Timeout())
    key = 'dtj_train_tokens_total{job_name="ner",rank="0"}'
    training.begin_round({0: 0})
    training.take(0, {"type": "report", "step": 3, "tokens_done": 300.0, "tokens_total": 300.0})
    # A restart from the checkpoint of step 2.
    training.begin_round({0: 0})
    training.take(0, {"type": "report", "step": 3, "tokens_done": 100.0, "tokens_total": 300.0})
    assert page(training)[key] == "400"
    assert training.progress().tokens == 300


def test_a_phase_does_not_outlive_its_round():
    training = Training(Timeout())
    training.begin_round({0: 0})
    training.take(0, {"type": "phase", "phase": "checkpoint"})
    assert training.progress().phase == "checkpoint"
    training.begin_round({0: 0})
    assert training.progress().phase == ""


def test_a_round_has_no_step_before_its_first_report_and_the_page_keeps_the_last_one():
    """The job runs again once a step is made: that of the round before proves nothing."""
    training = Training(Timeout())
    training.begin_round({0: 0})
    training.take(0, {"type": "report", "step": 40, "tokens_done": 5})
    training.take(0, {"checkpoint_step": 40})
    training.begin_round({0: 0})
    assert training.progress().step is None
    assert training.progress().checkpoint_step == 40
    assert training.series()[0].gauges[TrainMetric.STEP] == 40
    training.take(0, {"type": "report", "step": 41})
    assert training.progress().step == 41


@pytest.mark.parametrize("said", [{"step": "x"}, {"step": None}, {"step": True}, {"step": [1]}, {"phase": 3}, {}])
def test_what_makes_no_sense_is_ignored(said):
    training = Training(Timeout())
    training.begin_round({0: 0})
    training.take(0, {"type": "report", "step": 7})
    training.take(0, {"type": "report", **said})
    assert (training.progress().step, training.progress().phase) == (7, "")


def test_labels_are_escaped_and_every_metric_has_a_help_text():
    training = Training(Timeout())
    training.take(0, {"type": "report", "step": 1})
    assert 'dtj_train_step{job_name="a\\"b\\\\c",rank="0"}' in page(training, job='a"b\\c')
    assert set(HELP) == set(TrainMetric)


def test_a_sink_that_is_blocked_blocks_nobody():
    go = threading.Event()
    sink = Sink("blocked", lambda block: go.wait(30) and None)
    for _ in range(10_000):
        sink.put(b"x")
    assert sink.dropped > 0
    go.set()
    sink.close(10)


def test_a_full_disk_loses_the_log_and_nothing_else():
    def full(block):
        raise OSError(28, "No space left on device")

    sink = Sink("full", full)
    for _ in range(10):
        sink.put(b"x")
    sink.close(10)
    assert sink.dropped == 10


def test_a_log_file_is_bounded(tmp_path):
    log = LogFile(tmp_path / "1-1" / "0.log", limit=100)
    for index in range(50):
        log.write(f"line {index:3}\n".encode())
    log.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "1-1").iterdir()}
    assert set(sizes) <= {"0.log", "0.log.1"}
    assert sum(sizes.values()) <= 220
    assert "line  49" in (tmp_path / "1-1/0.log").read_text() + (tmp_path / "1-1/0.log.1").read_text()


def test_logs_of_old_rounds_are_removed_and_nothing_else_is(tmp_path):
    # A job that goes on where an older one was begins to count anew.
    names = ["4-1", "10-1", "10-2", "1-1", "1-2", "1-10", "2-1", "3-9"]
    for begun, name in enumerate(["notes", *names]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (begun, begun))
    Logs(lambda block: None, tmp_path).prune()
    assert {path.name for path in tmp_path.iterdir()} == {"notes", *names[-KEPT_ROUNDS:]}


def test_the_tail_is_the_last_lines_and_the_one_that_is_not_ended():
    output: list[bytes] = []
    logs = Logs(output.append, None)
    write, log = logs.open(1, 1, 3)
    os.write(write, b"".join(b"line %d\n" % index for index in range(100)) + b"the end")
    os.close(write)
    assert log.ended.wait(10)
    logs.close()
    assert log.tail().splitlines() == [f"line {index}" for index in range(81, 100)] + ["the end"]
    assert b"".join(output).splitlines()[-1] == b"[rank 3] the end"


def test_a_line_without_end_is_cut():
    output: list[bytes] = []
    logs = Logs(output.append, None)
    write, log = logs.open(1, 1, 0)
    with os.fdopen(write, "wb") as pipe:
        pipe.write(b"x" * 100_000)
    assert log.ended.wait(10)
    logs.close()
    assert sum(block.count(b"x") for block in output) == 100_000
    assert len(log.tail()) <= 2048


def test_a_termination_message_keeps_its_beginning_and_its_end(tmp_path):
    failure = Failure(1, 2, 3, 0, 0.0, -9, "", "the tail", user_error=False)
    assert describe_failure(failure, "") == "rank 3 in incarnation 1, round 2: signal 9\nthe tail"
    write_termination(tmp_path / "log", "begin " + "x" * 10_000 + " end")
    text = (tmp_path / "log").read_text()
    assert len(text.encode()) <= 4096
    assert (text[:6], text[-4:]) == ("begin ", " end")
    write_termination(tmp_path / "no" / "folder", "x")
