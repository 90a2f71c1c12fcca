"""What ranks agree on goes through a group of the library's own, and nobody waits in silence for who never comes."""

import json

import pytest

from dtj_trainer.launch.ranks.errors import is_user_error


def told(job, *names):
    files = [job.folder / name for name in names]
    job.wait(f"{names}", lambda: all(file.exists() and file.read_text() for file in files))
    return [file.read_text() for file in files]


def test_nothing_goes_through_the_scripts_own_group(start):
    """It may be one of GPUs, or one that the script never uses as a whole."""
    job = start(2, "control_group.py", env={"DTJ_SAVE_EVERY_STEPS": "2"})
    answers = [json.loads(text) for text in told(job, "told-0", "told-1")]
    assert answers[0] == answers[1] == [None, [2, 4, 6, 8], ["step-8.i1", "step-2.i1"]]
    parts = [path.read_text() for path in sorted((job.folder / "work/checkpoints/step-4.i1").glob("part-*"))]
    assert parts == ["of rank 0 of rank 1"] * 2


@pytest.mark.parametrize("how", ["at once", "in the background"])
def test_a_rank_that_saves_alone_says_so_and_waits_no_longer_than_the_script_would(start, how):
    job = start(2, "alone_in_a_save.py", env={"TEST_HOW": how})
    (text,) = told(job, "told")
    call = "dtj.checkpoint_dir(3)" if how == "at once" else "dtj.save_in_background(3)"
    assert text.startswith(f"rank 0 was left alone in {call} for 2 s: call it on every rank")
    assert is_user_error(["RuntimeError"], text)
    assert f"rank 0 has waited for other ranks in {call}" in job.output()


def test_a_copy_that_fails_on_one_rank_fails_the_save_on_all(start):
    job = start(2, "bug_in_stage.py")
    assert told(job, "told-0", "told-1") == [
        "SaveError: step 3: rank 1 could not copy what was to be saved: see its log",
        "KeyError: 'model'",
    ]


@pytest.mark.parametrize("moment", ["in the background", "at once"])
@pytest.mark.parametrize(
    ("error", "told_by"),
    [
        ("volume", ["SaveError: step 2: rank 1 could not write: see its log"] * 2),
        ("bug", ["SaveError: step 2: rank 1 could not write: see its log", "KeyError: 'model'"]),
    ],
)
def test_a_write_that_fails_between_two_collectives_fails_the_save_on_all_at_once(start, moment, error, told_by):
    """The others wait in a collective that rank 1 never comes to; what was saved stands, and the next save is made."""
    job = start(2, "fails_between.py", env={"TEST_ERROR": error, "TEST_MOMENT": moment})
    texts = told(job, "told-0", "told-1")
    if error == "volume":
        assert "rank 1 could not write: [Errno 28] No space left on device" in texts.pop(1)
    assert texts == told_by[: len(texts)]
    assert {path.name for path in (job.folder / "work/checkpoints").glob("step-*")} == {"step-1.i1", "step-3.i1"}


@pytest.mark.parametrize(("steps", "asked"), [("fast", 7), ("slow", 6)])
def test_nobody_waits_for_the_answer_of_a_step_and_all_save_at_the_same_one(start, steps, asked):
    """The interval is kept to exactly, and what is asked for comes a step later, unless steps are slow."""
    job = start(2, "late_answers.py", env={"TEST_STEPS": steps, "DTJ_SAVE_EVERY_STEPS": "10"})
    assert [json.loads(text) for text in told(job, "told-0", "told-1")] == [[asked, 10, 20]] * 2
