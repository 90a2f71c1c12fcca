"""Standing still is told from a slow step, a save, an evaluation and the end."""

import pytest

from dtj_trainer.launch.progress import phase_watch, stall
from dtj_trainer.launch.progress.stall import StepWatch, Timeout

STEP = 2.0


class Watch:
    """A pod's ranks on a clock of their own."""

    def __init__(self, timeout=Timeout()):  # noqa: B008
        self.watch, self.now, self.step = StepWatch(timeout), 1000.0, 0

    def steps(self, number, seconds=STEP, **more):
        for _ in range(number):
            self.now += seconds
            self.step += 1
            self.says(type="report", step=float(self.step), **more)
        return self

    def says(self, rank=0, after=0.0, **said):
        self.now += after
        self.watch.take(rank, said, self.now)
        return self

    def phase(self, name, rank=0, after=0.0):
        return self.says(rank, after, type="phase", phase=name)

    @property
    def limit(self):
        return self.watch.limit()

    def warned(self, after):
        return self.watch.warning(self.now + after)

    def stalled(self, after):
        return self.watch.stalled(self.now + after)


def declared(timeout=Timeout()):  # noqa: B008
    return Watch(timeout).phase("train")


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [(0.1, stall.LEAST), (STEP, stall.LEAST), (30.0, 150.0)],
)
def test_the_limit_is_learned_from_the_longest_of_the_recent_steps(seconds, limit):
    assert declared().steps(40, seconds).limit == pytest.approx(limit)


def test_one_long_step_raises_the_limit_until_it_is_forgotten():
    watch = declared().steps(20).steps(1, 50.0).steps(1)
    assert watch.limit == 250.0
    assert watch.steps(stall.RECENT).limit == stall.LEAST


def test_the_first_steps_of_a_round_are_not_watched_and_teach_nothing():
    watch = declared()
    assert watch.steps(1, 300.0).limit is None
    assert watch.steps(stall.FIRST - 1, 100.0).limit is None
    assert watch.steps(1).limit == stall.LEAST


def test_a_new_round_forgets_phases_and_keeps_what_it_learned():
    watch = declared().steps(20, 30.0).phase("evaluate")
    watch.watch.begin_round({})
    assert watch.phase("train").limit is None
    assert watch.steps(stall.FIRST).limit == 150.0


@pytest.mark.parametrize("phase", ["checkpoint", "evaluate", "export", "restore"])
def test_other_phases_take_as_long_as_they_like(phase):
    watch = declared().steps(20).phase(phase)
    assert watch.limit is None
    watch.phase("train", after=3600.0)
    assert watch.stalled(stall.LEAST - 1) is None
    assert watch.stalled(stall.LEAST) is not None
    assert watch.steps(1).limit == stall.LEAST, "the step around an evaluation teaches nothing"


def two_ranks(timeout=Timeout()):  # noqa: B008
    """Global ranks 4 and 5, which train."""
    watch = Watch(timeout)
    watch.watch.begin_round({0: 4, 1: 5})
    return watch.phase("train").phase("train", rank=1).steps(20)


@pytest.mark.parametrize(
    ("told", "limit"),
    [
        ({}, phase_watch.APART + phase_watch.MARGIN),
        ({"patience": 7200.0}, 7200.0 + phase_watch.MARGIN),
        ({"patience": "long"}, phase_watch.APART + phase_watch.MARGIN),
    ],
)
def test_ranks_that_save_while_others_train_are_named_after_a_minute_and_hang_after_what_the_script_would_wait(
    told, limit
):
    watch = two_ranks().says(rank=0, type="phase", phase="checkpoint", **told)
    assert watch.warned(phase_watch.TELL_AFTER - 1) == ""
    assert watch.warned(phase_watch.TELL_AFTER) == (
        "rank 4 has been in phase checkpoint for 60 s, and others of the job are in none: a save is for every rank to "
        f"make; after {limit:.0f} s without a step the ranks count as hung and are restarted"
    )
    assert watch.warned(phase_watch.TELL_AFTER + 1) == "", "once"
    assert watch.stalled(limit - 1) is None
    found = watch.stalled(limit)
    assert found.seconds == limit
    assert found.text == (
        f"rank 4 has been in phase checkpoint for {limit:.0f} s, and others of the job are in none; "
        f"the limit is {limit:.0f} s"
    )


def test_ranks_that_save_while_another_pod_trains_are_named_too():
    watch = declared().steps(20).phase("checkpoint")
    watch.watch.others(True, watch.now + 5.0)
    limit = 5.0 + phase_watch.APART + phase_watch.MARGIN
    assert "rank 0 has been in phase checkpoint" in watch.warned(5.0 + phase_watch.TELL_AFTER)
    assert watch.stalled(limit - 1) is None
    assert watch.stalled(limit) is not None
    watch.watch.others(False, watch.now + 100.0)
    assert watch.stalled(limit) is None, "all have come"


@pytest.mark.parametrize(
    "comes",
    [
        pytest.param(lambda watch: watch.phase("checkpoint", rank=1), id="the other one comes"),
        pytest.param(lambda watch: watch.watch.ended(1, watch.now), id="the other one has ended"),
        pytest.param(lambda watch: watch.phase("evaluate"), id="it is no save"),
    ],
)
@pytest.mark.parametrize("limit", [None, 5.0])
def test_a_phase_that_is_nobodys_fault_is_excused_for_as_long_as_a_volume_is_waited_for(comes, limit):
    watch = two_ranks(Timeout(limit)).phase("checkpoint")
    comes(watch)
    assert watch.warned(phase_watch.DEADLINE - 1) == ""
    assert watch.stalled(phase_watch.DEADLINE - 1) is None
    assert " been in phase " in watch.stalled(phase_watch.DEADLINE).text


def test_ranks_that_step_on_wait_for_nobody():
    watch = two_ranks().phase("checkpoint").steps(100, 60.0)
    assert watch.stalled(stall.LEAST) is None
    assert watch.stalled(phase_watch.APART + phase_watch.MARGIN) is not None


def test_a_new_round_and_whoever_wants_no_watch_know_no_deadline():
    assert two_ranks(Timeout(watch=False)).phase("checkpoint").stalled(10 * phase_watch.DEADLINE) is None
    watch = two_ranks().phase("checkpoint")
    watch.watch.begin_round({0: 4, 1: 5})
    assert watch.stalled(10 * phase_watch.DEADLINE) is None


def test_one_rank_in_another_phase_is_enough():
    assert declared().steps(20).phase("evaluate", rank=1).limit is None


def test_a_script_that_declares_nothing_may_evaluate_unseen():
    assert Watch().steps(20).limit == stall.LEAST_UNDECLARED
    saves = Watch().steps(20).phase("checkpoint").phase("", after=1.0)
    assert saves.limit == stall.LEAST_UNDECLARED


@pytest.mark.parametrize("end", [{"type": "done"}, {"type": "report", "step": 100.0, "total_steps": 100.0}])
def test_what_follows_the_last_step_is_no_hang(end):
    assert declared().steps(20, total_steps=100.0).says(**end).limit is None


@pytest.mark.parametrize(("seconds", "limit"), [(5.0, 5.0), (0.5, 0.5)])
def test_a_limit_that_was_given_holds_from_the_first_step_on(seconds, limit):
    assert Watch(Timeout(seconds)).limit is None
    assert Watch(Timeout(seconds)).steps(1).limit == limit


def test_nothing_is_watched_where_that_is_wished():
    assert declared(Timeout(watch=False)).steps(50).limit is None


def test_reports_that_are_no_progress_do_not_hide_a_hang():
    watch = declared().steps(20)
    for _ in range(100):
        watch.says(after=1.0, type="report", step=float(watch.step), loss=0.1)
    assert watch.stalled(0).seconds == 100.0


def test_it_says_for_how_long_and_how_the_limit_came_about():
    told = declared().steps(20).stalled(61.25)
    assert told.seconds == 61.25
    assert told.text == "no step for 61.2 s after step 20; the limit is 60 s, learned from steps of 2 s"
    assert Watch(Timeout(5.0)).steps(1).stalled(6.0).text == "no step for 6.0 s after step 1; the limit is 5 s"


def test_steps_that_begin_again_are_another_training_and_no_hang():
    """A warm-up and a fine-tuning, or folds, in one process."""
    watch = declared().steps(200)
    watch.step = 0
    watch.steps(stall.FIRST - 1)
    assert watch.stalled(3600.0) is None, "its first steps are not watched, as those of the first training"
    watch.steps(100)
    assert watch.stalled(stall.LEAST - 1) is None
    assert watch.stalled(stall.LEAST) is not None


def test_a_step_that_takes_half_of_what_it_may_is_warned_of_once():
    watch = declared().steps(20)
    warn = watch.watch.warning
    assert warn(watch.now + stall.LEAST / 2 - 1) == ""
    text = warn(watch.now + stall.LEAST / 2)
    assert text.startswith("no step for 30 s; after 60 s the ranks count as hung and are restarted. ")
    assert "dtj.phase" in text
    assert warn(watch.now + stall.LEAST - 1) == ""
    watch.steps(1)
    assert warn(watch.now + stall.LEAST / 2) != "", "the next one is another one"
