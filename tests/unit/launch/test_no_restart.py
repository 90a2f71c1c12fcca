"""With maxRestarts 0 the ranks of a later round start upon the operator's signed word, and by nothing else."""

import signal
from dataclasses import replace

import pytest

from dtj_api.wire import Meet
from dtj_trainer.launch.progress.board import Board, Refused
from dtj_trainer.launch.progress.stall import Timeout

NO_RESTART = {"DTJ_MAX_RESTARTS": "0"}
ONCE = "3 if os.environ['DTJ_INCARNATION'] == '1' else 0"
MEET = Meet(1, 2, 2, "127.0.0.1:1", 1)


@pytest.fixture
def failed(start):
    """A job of two workers whose ranks have failed once, and whose second round has formed."""

    def begin(**env):
        job = start(2, "exits.py", ONCE, env={**NO_RESTART, **env})
        job.wait("the failure in the log", lambda: "exit code 3" in job.output())
        job.wait_reports("the next round, formed", lambda r: (r.round, r.state, r.held) == (2, "starting", 2))
        return job

    return begin


def test_who_looks_at_the_reports_starts_nothing_however_long(failed):
    """An operator that is slow or away, and anybody who reaches the port. This look at the reports is a stranger's."""
    job = failed(DTJ_JOIN_TIMEOUT="30")
    reports = job.wait_reports("that they give up", lambda r: r.state != "starting")
    assert {(report.round, report.state, report.held) for report in reports} == {(2, "failed", 0)}
    assert all("was not let start within 30 s" in report.error for report in reports)
    # An operator of an earlier version knows this: it counts what failed, and if the job goes on all meet anew.
    job.meet()
    job.wait_reports("the end", lambda r: (r.incarnation, r.state) == (2, "done"))


def test_ranks_start_upon_the_operators_word_and_no_earlier_one_counts(failed):
    job = failed()
    word = replace(job.message, rounds=2)
    for worker in job.workers:
        assert worker.send(replace(word, rounds=1))[0] == 200
        assert worker.send(job.message)[0] == 200
        assert worker.send(word, key=b"another key")[0] == 403
    assert {(report.state, report.held) for report in job.reports()} == {("starting", 2)}
    for worker in job.workers:
        assert worker.send(word)[0] == 200
    job.wait_reports("its end", lambda r: (r.round, r.state, r.held) == (2, "done", 0))


def test_a_peer_that_goes_meanwhile_is_noticed_and_the_next_round_waits_for_a_word_of_its_own(start):
    job = start(2, "exits.py", "3", meet=False, env=NO_RESTART)
    job.meet(fewest=1)
    # A machine that is slow may have had rounds of one before.
    both = job.wait_reports("a later round of both", lambda r: r.round >= 2 and r.held == 2)[0].round
    job.signal(job.workers[1].process, signal.SIGKILL)
    left = job.workers[0]
    job.wait("the round without it", lambda: (r := left.report()) and r.round > both and r.held == 1)
    alone = left.report().round
    assert left.send(replace(job.message, rounds=alone - 1))[0] == 200
    report = left.report()
    assert (report.state, report.held) == ("starting", 1)
    assert left.send(replace(job.message, rounds=alone))[0] == 200
    job.wait("the end", lambda: (r := left.report()) and r.state == "done")


def test_a_meeting_whose_first_round_may_not_start_yet_waits_too(start):
    """Of what failed before it the operator has not heard all yet."""
    job = start(1, "plain.py", "3", meet=False)
    (worker,) = job.workers
    job.meet()
    message = Meet(2, 1, 1, job.message.store, 0)
    assert worker.send(message)[0] == 200
    job.wait_reports("its first round, formed", lambda r: (r.incarnation, r.round, r.held) == (2, 1, 1))
    assert worker.send(replace(message, rounds=1))[0] == 200
    job.wait_reports("its start", lambda r: (r.incarnation, r.held) == (2, 0) and r.state in ("training", "done"))


def a_board() -> Board:
    return Board("uid", 0, "fork", Timeout())


def test_the_rounds_that_may_start_only_rise():
    board = a_board()
    assert board.may_start(1, 1) is None
    assert board.accept(replace(MEET, rounds=None))
    assert board.may_start(1, 1) is None
    for rounds, allowed in ((1, 1), (3, 3), (2, 3), (None, 3)):
        assert board.accept(replace(MEET, rounds=rounds)) is False, "it is the same meeting"
        assert (board.may_start(1, allowed), board.may_start(1, allowed + 1)) == (True, False)
    with pytest.raises(Refused):
        board.accept(replace(MEET, max_nodes=3, rounds=9))
    assert board.may_start(1, 9) is False


def test_a_word_that_comes_before_the_meeting_is_entered_does_not_stop_it():
    board = a_board()
    assert board.accept(MEET)
    assert board.accept(replace(MEET, rounds=2)) is False
    assert board.enter(MEET)
    assert board.may_start(1, 2)


def test_another_meeting_begins_with_what_it_allows_itself():
    board = a_board()
    board.accept(replace(MEET, rounds=7))
    board.accept(replace(MEET, incarnation=2, rounds=0))
    assert board.may_start(2, 1) is False


@pytest.mark.parametrize("rounds", [9, None])
def test_the_word_of_a_newer_meeting_starts_no_round_of_the_one_before(rounds):
    board = a_board()
    board.accept(replace(MEET, rounds=1))
    board.accept(replace(MEET, incarnation=2, rounds=rounds))
    assert board.may_start(1, 1) is False
