"""When a save is due: at the multiples of an interval, and until it is made."""

from alone import save

import dtj
from dtj import saving
from dtj.saving import Requests


def test_a_save_is_due_at_the_multiples_whatever_was_saved_in_between(alone, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_EVERY_STEPS", "5")
    saved = []
    for step in range(1, 18):
        dtj.report(step=step)
        if dtj.should_save() or step == 7:
            save(step)
            saved.append(step)
    assert saved == [5, 7, 10, 15]


def test_a_save_stays_due_until_it_is_made(alone, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_EVERY_SECONDS", "0.001")
    while not dtj.should_save():
        pass
    assert dtj.should_save()
    monkeypatch.setenv("DTJ_SAVE_EVERY_SECONDS", "1000")
    save(1)
    assert not dtj.should_save()


def test_nothing_is_due_without_an_interval(alone):
    dtj.report(step=1000)
    assert not dtj.should_save()


def test_what_is_asked_for_and_fails_is_tried_again_but_not_at_every_step(alone, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("dtj.saving.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("dtj.saving.link.requests", lambda: ["leave"])
    monkeypatch.setattr("dtj.saving.requests", Requests())
    monkeypatch.setattr("dtj.checkpoints.requests", saving.requests)
    monkeypatch.setenv("DTJ_SAVE_ON_FAILURE", "Continue")
    tried = []
    for step in range(1, 13):
        clock[0] += 1.0
        dtj.report(step=step)
        if dtj.should_save():
            tried.append(step)
            with dtj.checkpoint_dir(step):
                raise OSError(28, "No space left on device")
    assert tried == [1, 6, 11]


def test_what_has_been_saved_is_not_saved_once_more_for_a_launcher_that_asks_as_it_is_made(alone, monkeypatch):
    """Its word and ours cross; of several pods one is asked after the other."""
    asked = [["first"], [], ["first"], ["second"]]
    monkeypatch.setattr(saving.requests, "ids", [])
    monkeypatch.setattr(saving.link, "requests", lambda: asked.pop(0))
    due = []
    for step in (1, 2, 3, 4):
        dtj.report(step=step)
        due.append(dtj.should_save())
        if due[-1]:
            save(step)
    assert due == [True, False, False, True]
