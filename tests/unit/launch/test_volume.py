"""Workers that do not share their volume do not train."""

import threading
import time
import types

import pytest
from held_meetings import Held
from store_thread import StoreThread

from dtj_trainer.launch.volume import shared as volume
from dtj_trainer.launch.volume.shared import VolumeCheck


def test_workers_that_mount_different_volumes_end_with_65(start, tmp_path):
    job = start(2, "train.py", "100", meet=False)
    (tmp_path / "elsewhere").mkdir()
    job._work_dir = tmp_path / "elsewhere"
    job.signal(job.workers[1].process, 9)
    job.start_worker(1)
    job.meet()
    reports = job.wait_reports("the refusal", lambda r: r.state == "failed", patience=60)
    assert {report.volume_shared for report in reports} == {False}
    assert all("mount different volumes" in report.error for report in reports)
    assert [job.exit_code(worker) for worker in job.workers] == [65, 65]
    assert "mount different volumes" in job.termination_log(0).read_text()
    assert not list(job.folder.glob("pid-*"))


@pytest.mark.parametrize(("workers", "shared"), [(1, None), (2, True)])
def test_a_worker_alone_needs_no_check(start, workers, shared):
    job = start(workers, "train.py", "1000000")
    reports = job.wait_step(1)
    assert {report.volume_shared for report in reports} == {shared}


def test_without_a_volume_there_is_nothing_to_check(start):
    job = start(2, "plain.py", "1000000", work_dir=None)
    reports = job.wait_reports("training", lambda r: r.state == "training")
    assert {report.volume_shared for report in reports} == {None}


def test_a_volume_that_takes_no_file_does_not_stop_the_training(start, tmp_path):
    (tmp_path / "work").write_text("a file where the folder should be")
    job = start(2, "plain.py", "1000000", work_dir=tmp_path / "work")
    job.wait("steps", lambda: "step 9" in job.output())


def test_a_look_that_the_end_of_patience_cuts_off_is_no_volume_that_hangs(tmp_path, monkeypatch):
    patience, began, past = 0.05, time.monotonic(), threading.Event()

    def pause(seconds):
        time.sleep(seconds)
        if time.monotonic() > began + patience:
            past.set()

    def slow(_):
        past.wait()
        return ""

    monkeypatch.setattr(volume, "_text", slow)
    link = types.SimpleNamespace(get=lambda _: "1/1\nnonce", exists=lambda _: False)
    assert "does not see 1/1" in VolumeCheck(tmp_path, 0, patience)._look(link, "round/1/volume", 1, pause)


class KilledError(BaseException):
    """The launcher ends here: it neither looks nor beats any more."""


@pytest.mark.parametrize("wrote", [False, True], ids=["before it wrote its file", "while it looks"])
def test_a_peer_that_dies_in_the_check_is_left_behind_and_makes_no_volume_a_different_one(tmp_path, wrote):
    with StoreThread() as store:
        held = Held(store, 1, 2, last_call=0.2)
        alive, dies = held.meeting(0), held.meeting(1)
        rounds = held.join(alive, dies)

        def killed(seconds):
            if dies.link.exists("round/1/volume/1"):
                raise KilledError
            time.sleep(seconds)

        if wrote:
            with pytest.raises(KilledError):
                VolumeCheck(tmp_path, 1).run(dies.link, held.incarnation, rounds[1], killed, dies.superseded)
        # Long before that, its neighbour has opened the next round.
        limit = threading.Timer(120.0, held.stopped.set)
        limit.start()
        check = VolumeCheck(tmp_path, 0, patience=0.5)
        assert not check.run(alive.link, held.incarnation, rounds[0], held.pause, alive.superseded)
        limit.cancel()
        (round,) = held.join(alive)
        assert (round.number, len(round.members)) == (2, 1)
        for meeting in (alive, dies):
            meeting.shutdown()
