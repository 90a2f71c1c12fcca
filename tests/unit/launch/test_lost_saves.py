"""Saves that fail are in the report, on the page, and in what a pod leaves behind that was to save first."""

from __future__ import annotations

import errno
import json
import signal
import urllib.request

import pytest

from dtj_api.wire import LostSaves, Save
from dtj_trainer.launch.progress.lost_saves import SaveLog
from dtj_trainer.launch.ranks.errors import read_error


def failed(step: int, code: int = errno.ENOSPC, why: str = "no space") -> dict[str, object]:
    return {"type": "save_failed", "step": step, "errno": code, "why": why}


def test_each_save_counts_once_whichever_ranks_tell_it_and_the_one_that_knows_says_why():
    log = SaveLog()
    log.failed(1, failed(10, 0, "see its log"), 100.0)
    log.failed(0, failed(10), 101.0)
    assert log.lost == LostSaves(1, 10, 100.0, errno.ENOSPC, "no space")
    log.failed(0, failed(20, errno.EROFS, "read-only"), 200.0)
    log.failed(1, failed(20, 0, "see its log"), 201.0)
    assert log.lost == LostSaves(2, 20, 200.0, errno.EROFS, "read-only")
    log.published()
    assert log.lost == LostSaves()
    log.failed(0, failed(30), 300.0)
    assert (log.lost.count, log.total) == (1, 3)


def test_what_cannot_be_read_is_no_reason():
    log = SaveLog()
    log.failed(0, {"step": "x", "errno": True, "why": "y" * 9999}, 1.0)
    assert (log.lost.step, log.lost.errno, len(log.lost.text)) == (None, None, 512)


def test_a_pod_that_was_to_save_before_it_left_says_that_it_could_not(start):
    job = start(1, "cannot_save.py", env={"DTJ_GRACE_SECONDS": "6"})
    (worker,) = job.workers
    job.wait_reports("steps", lambda r: r.progress.step)
    assert worker.send(Save(1, "wanted"))[0] == 200
    (report,) = job.wait_reports("the failure", lambda r: r.lost_saves.count > 2)
    assert report.lost_saves.errno == errno.ENOSPC
    assert report.lost_saves.text.endswith("rank 0 could not write")
    assert report.last_save == ""
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.metrics_port}/metrics") as page:
        told = page.read().decode()
    (total,) = [line for line in told.splitlines() if line.startswith("dtj_train_checkpoints_failed_total")]
    assert float(total.rpartition(" ")[2]) > 2
    assert "\ndtj_train_volume_seconds{" in told
    job.signal(worker.process, signal.SIGTERM)
    assert job.exit_code(worker) == 143
    assert "leaves without a save: it failed: step" in job.output()
    said = job.termination_log(0).read_text()
    assert said.startswith("left without a save: that of step ")
    assert said.endswith("rank 0 could not write")


@pytest.mark.parametrize(
    ("message", "of_volume"),
    [
        ("SaveError: step 3: rank 0 could not write", True),
        ("RestoreError: no checkpoint can be chosen", True),
        ("dtj.restoring.RestoreError: no checkpoint can be chosen", True),
        ("OSError: [Errno 28] No space left on device", False),
        ("ValueError: SaveError: x", False),
    ],
)
def test_which_errors_are_the_volumes(tmp_path, message, of_volume):
    (tmp_path / "error.json").write_text(json.dumps({"message": {"message": message}}))
    error = read_error(tmp_path / "error.json")
    assert error is not None
    assert error.of_volume is of_volume
    assert not (of_volume and error.user_error)


def test_ranks_that_cannot_restore_end_by_the_volume_and_the_launcher_knows_why(start, tmp_path):
    (tmp_path / "work").write_text("a file where the folder should be")
    job = start(1, "train.py", "100")
    (report,) = job.wait_reports("the failure", lambda r: r.failures)
    assert report.failures[0].of_volume
    assert report.failures[0].message.startswith("RestoreError: ")
    assert report.volume.errno == errno.ENOTDIR
    assert f"Not a directory: {tmp_path / 'work'}" in report.volume.text
