"""What a launcher tells of itself fits into what the operator reads, whatever happened."""

import pytest

from dtj_api.wire import MAX_BODY, Failure, Report, decode, encode
from dtj_trainer.launch.progress.board import MAX_FAILURES, Board
from dtj_trainer.launch.progress.stall import Timeout


def a_board() -> Board:
    return Board("uid", 0, "fork", Timeout())


def a_failure(round: int, text: str = "boom") -> Failure:
    return Failure(1, round, 0, 0, 1_800_000_000.0, 1, text[:1024], text * (2048 // len(text)), user_error=True)


@pytest.mark.parametrize("letter", ["x", "\u2588", "\u0416", "\U0001f600"])
def test_many_failures_with_long_texts_are_all_told_in_a_report_that_can_be_read(letter):
    board = a_board()
    for round in range(1, 101):
        board.fail(a_failure(round, letter * 512))
    body = encode(board.report())
    assert len(body) < MAX_BODY - 8 * 1024
    failures = decode(Report, body).failures
    assert [failure.round for failure in failures] == list(range(101 - MAX_FAILURES, 101))
    assert failures[-1].message == letter * 512, "the last one with all that is known of it"
    assert failures[-1].log_tail == letter * 2048
    assert failures[0].message == ""


def test_an_older_failure_loses_the_tail_of_its_log_before_its_message():
    board = a_board()
    chinese = "\u6570\u636e\u96c6" * 100
    for round in range(1, 11):
        board.fail(a_failure(round, chinese))
    failures = board.report().failures
    assert [failure.message for failure in failures] == [chinese] * 10, "so that the same error is seen to come again"
    assert failures[-1].log_tail
    assert not failures[0].log_tail


def test_short_texts_are_all_kept():
    board = a_board()
    for round in range(1, 6):
        board.fail(a_failure(round))
    assert all(failure.message == "boom" for failure in board.report().failures)


def test_the_first_round_of_a_launcher_is_no_restart_and_each_later_one_is():
    board = a_board()
    assert board.restarts == 0
    for restarts in (0, 1, 2):
        board.begin_round()
        assert board.restarts == restarts


def test_damaged_checkpoints_are_told_and_each_once():
    board = a_board()
    for number in (1, 1, 2, 3, 4, 5, 6, 6):
        board.found_damaged(f"step-{number}.i1: " + "x" * 2000)
    told = board.report().damaged
    assert [text[:9] for text in told] == [f"step-{number}.i1" for number in (2, 3, 4, 5, 6)]
    assert max(len(text) for text in told) == 1024
    for number in range(1, 7):
        board.found_damaged(f"step-{number}.i1: " + "x" * 2000)
    assert board.damaged_count == 6
    assert board.report().damaged == told
