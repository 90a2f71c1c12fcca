"""The volume is tried with a small file before ranks start; what is found is told, and costs no more than a moment."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from dtj_api.wire import VolumeTry
from dtj_trainer.launch.volume import probe
from dtj_trainer.launch.volume.probe import FOLDER, VolumeProbe

SCRIPT = pathlib.Path(__file__).parent / "scripts" / "small_volume.py"


@pytest.fixture
def told() -> Any:
    return SimpleNamespace(found=[], said=[])


def a_probe(work_dir: pathlib.Path, told: Any, uid: str = "uid") -> VolumeProbe:
    return VolumeProbe(work_dir, 1, uid, told.found.append, told.said.append)


def look(tried: VolumeProbe, told: Any) -> VolumeTry:
    tried.ask()
    tried.wait(time.sleep)
    last: VolumeTry = told.found[-1]
    return last


def test_a_volume_that_takes_files(tmp_path, told):
    found = look(a_probe(tmp_path / "job", told), told)
    assert found.errno is None
    assert found.seconds is not None
    assert abs(time.time() - (found.at or 0.0)) < 60
    assert told.said == []
    assert list((tmp_path / "job" / FOLDER).iterdir()) == []


def test_real_ones_that_are_full_and_read_only(tmp_path):
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", *rights, sys.executable, str(SCRIPT), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if ran.returncode:
        pytest.fail(f"this needs unshare(1), and root or user namespaces: {ran.stderr[-2000:]}")
    well, full, read_only, again, said = map(json.loads, ran.stdout.splitlines())
    assert [each["errno"] for each in (well, full, read_only, again)] == [None, errno.ENOSPC, errno.EROFS, None]
    path = tmp_path / "job" / FOLDER / "1-uid"
    assert full["text"] == f"No space left on device: {path}"
    assert read_only["text"] == f"Read-only file system: {path}"
    assert [each["left"] for each in (well, full, read_only, again)] == [[]] * 4
    assert said == [
        f"the volume takes no file: {full['text']}",
        f"the volume takes no file: {read_only['text']}",
        "the volume takes files again",
    ]


def test_what_is_missing_is_told(tmp_path, told):
    (tmp_path / "job").write_text("a file where the folder should be")
    found = look(a_probe(tmp_path / "job", told), told)
    assert found.errno == errno.ENOTDIR
    assert str(tmp_path / "job") in found.text


def test_files_of_pods_that_are_gone_never_pile_up(tmp_path, told):
    folder = tmp_path / "job" / FOLDER
    folder.mkdir(parents=True)
    for name in ("1-old", "1-older", "10-other"):
        (folder / name).touch()
    look(a_probe(tmp_path / "job", told), told)
    assert [path.name for path in folder.iterdir()] == ["10-other"]


def test_what_is_read_back_is_what_was_written(tmp_path, told, monkeypatch):
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path: b"")
    found = look(a_probe(tmp_path / "job", told), told)
    assert found.errno == 0
    assert found.text.startswith("something else was read than was written: ")


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_a_volume_without_hard_links_does(tmp_path, told, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    assert look(a_probe(tmp_path / "job", told), told).errno is None
    assert list((tmp_path / "job" / FOLDER).iterdir()) == []


def test_one_that_cannot_take_a_checkpoint_is_told_though_it_takes_files(tmp_path, told, monkeypatch):
    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    assert look(a_probe(tmp_path / "job", told), told).errno == errno.EOPNOTSUPP


def test_a_mount_that_hangs_holds_up_ranks_once_and_is_told_while_it_does(tmp_path, told, monkeypatch):
    held, reached = threading.Event(), threading.Event()

    def hang(fd: int) -> None:
        reached.set()
        held.wait()

    monkeypatch.setattr(probe.os, "fsync", hang)
    tried = a_probe(tmp_path / "job", told)
    tried.ask()
    assert reached.wait(10)
    pauses: list[float] = []
    tried.wait(lambda seconds: pauses.append(seconds) or time.sleep(seconds), patience=0.1)
    assert pauses
    waiting = told.found[-1]
    assert waiting.waits_since is not None
    assert waiting.errno is None
    pauses.clear()
    tried.ask()
    tried.wait(lambda seconds: pauses.append(seconds) or time.sleep(seconds), patience=0.1)
    assert pauses == [], "it has been waited for as long before"
    held.set()
    tried.wait(time.sleep)
    assert told.found[-1].waits_since is None
    assert told.found[-1].errno is None
