"""What ranks report, and what a launcher knows of its pod, as progress and as metrics."""

import json
import math

import pytest

from dtj_api.metrics import TrainMetric
from dtj_api.wire import encode
from dtj_trainer.launch.progress.board import Board
from dtj_trainer.launch.progress.metrics import HELP, render
from dtj_trainer.launch.progress.stall import Timeout
from dtj_trainer.launch.progress.training import Training


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


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400, "nan", "inf"])
def test_what_is_no_number_is_never_counted(bad):
    training = Training(Timeout())
    training.begin_round({0: 0})
    for step in range(1, 4):
        counts = dict.fromkeys(("tokens_done", "tokens_total", "samples_done", "samples_total"), 100.0 * step)
        timed = {"step_seconds": 0.3, "data_wait_seconds": 0.1}
        said = {"step": step, "loss": 0.5, **counts, **timed}
        training.take(0, {"type": "report", **said} if step != 2 else {"type": "report", **dict.fromkeys(said, bad)})
    found = page(training)
    for name in ("tokens", "samples"):
        assert found[f'dtj_train_{name}_total{{job_name="ner",rank="0"}}'] == "300"
        assert math.isfinite(float(found[f'dtj_train_{name}_per_second{{job_name="ner",rank="0"}}']))
    assert found['dtj_train_step_seconds_sum{job_name="ner",rank="0"}'] == "0.6"
    progress = training.progress()
    assert (progress.step, progress.loss, progress.tokens, training.step()) == (3, 0.5, 300.0, 3)
    json.loads(encode(progress), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_loss_that_is_no_number_is_shown_for_its_step():
    training = Training(Timeout())
    training.begin_round({0: 0})
    for step, loss in ((1, "inf"), (2, "nan")):
        training.take(0, {"type": "report", "step": step, "loss": loss})
        assert page(training)['dtj_train_loss{job_name="ner",rank="0"}'] == {"inf": "+Inf", "nan": "NaN"}[loss]
        assert training.progress().loss is None
    training.take(0, {"type": "report", "step": 3, "loss": 0.25})
    assert training.progress().loss == 0.25


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
