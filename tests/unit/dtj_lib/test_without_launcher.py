"""A script that is started by hand finds the checkpoints of a job, and spoils nothing of it."""

import errno
import json
import os
import pathlib

import pytest
from alone import names, save

import dtj
from dtj.checkpoints import superseded


def tree(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_text() for path in folder.rglob("*")}


@pytest.fixture
def read_only(alone, monkeypatch):
    """Whoever would write to the current directory fails, as in a read-only folder; for root modes are no obstacle."""
    monkeypatch.delenv("DTJ_WORK_DIR")
    monkeypatch.chdir(alone)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        for function in ("mkdir", "write_text", "write_bytes"):
            patch.setattr(pathlib.Path, function, refuse)
        patch.setattr(os, "mkdir", refuse)
        yield alone


def test_without_a_launcher_to_ask_writes_nothing(read_only):
    assert dtj.latest_checkpoint() is None
    assert not superseded()
    assert not dtj.should_save()
    assert tree(read_only) == {}


def test_without_a_launcher_a_script_goes_on_in_the_folder_of_a_job(alone, monkeypatch):
    """What it reads it leaves alone until it saves; then it is the next one on the chain."""
    monkeypatch.setenv("DTJ_JOB_UID", "a")
    for incarnation in ("1", "2"):
        monkeypatch.setenv("DTJ_INCARNATION", incarnation)
        dtj.latest_checkpoint()
        save(10 * int(incarnation))
    for name in ("DTJ_JOB_UID", "DTJ_INCARNATION"):
        monkeypatch.delenv(name)
    before = tree(alone)
    for _ in range(2):
        assert dtj.latest_checkpoint().name == "step-20.i2"
    assert tree(alone) == before
    save(30)
    assert json.loads((alone / "lineage/3").read_text()) == {"restored": "step-20.i2"}
    assert names(alone) == ["LATEST", "step-10.i1", "step-20.i2", "step-30.i3"]
    after = tree(alone)
    assert dtj.latest_checkpoint().name == "step-30.i3"
    assert tree(alone) == after


def test_without_a_launcher_a_script_that_asks_for_nothing_saves_beside_what_is_damaged(alone, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("DTJ_JOB_UID", "a")
        patch.setenv("DTJ_INCARNATION", "1")
        dtj.latest_checkpoint()
        save(3)
    (alone / "checkpoints/step-3.i1/dtj.json").unlink()
    save(5)
    assert json.loads((alone / "lineage/2").read_text()) == {"restored": None}
    assert dtj.latest_checkpoint().name == "step-5.i2"
