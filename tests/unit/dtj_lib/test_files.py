"""What the library makes of a volume: files are whole or not there, and trouble is never taken for an absence."""

import ast
import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import dtj
from dtj import files

LIBRARY = Path(dtj.__file__).parent
TRAINER = LIBRARY.parent / "dtj_trainer"
OF_VOLUMES = [*LIBRARY.glob("*.py"), *TRAINER.glob("checkpoint/*.py"), *TRAINER.glob("cli/checkpoints.py")]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_volume_that_fails_does_not_say_that_nothing_is_there(tmp_path, monkeypatch, code):
    def fail(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        files.exists(tmp_path)


def test_what_is_not_there_is_not_there(tmp_path):
    (tmp_path / "file").touch()
    assert files.exists(tmp_path / "file")
    assert not files.exists(tmp_path / "other")
    assert not files.exists(tmp_path / "file" / "below")


ASKS = {"exists", "is_dir", "is_file", "isdir", "isfile", "lexists"}


@pytest.mark.parametrize("path", sorted(OF_VOLUMES), ids=lambda path: str(path.relative_to(LIBRARY.parent)))
def test_nobody_asks_in_a_way_that_takes_a_failing_volume_for_an_absence(path):
    """`Path.exists` and its like answer no to EIO and ESTALE since Python 3.14."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    asking = [node.lineno for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr in ASKS]
    assert asking == [], f"{path.name}: use dtj.files.exists"


def test_one_stale_handle_makes_no_job_begin_anew(one_rank, monkeypatch, tmp_path):
    """With the `Path.exists` of Python 3.14."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setattr(Path, "exists", lambda self: os.path.exists(self))
    for incarnation in ("1", "2"):
        monkeypatch.setenv("DTJ_INCARNATION", incarnation)
        dtj.latest_checkpoint()
        if incarnation == "1":
            with dtj.checkpoint_dir(100) as path:
                (path / "model").write_text("x")
    monkeypatch.setenv("DTJ_INCARNATION", "3")
    with monkeypatch.context() as patch:
        for module, function in ((os, "stat"), (Path, "read_bytes")):
            patch.setattr(module, function, stale_at("lineage/2", getattr(module, function)))
        with pytest.raises(dtj.RestoreError, match="Stale file handle"):
            dtj.latest_checkpoint()
    found = dtj.latest_checkpoint()
    assert found.name == "step-100.i1"
    with dtj.checkpoint_dir(101) as path:
        (path / "model").write_text("x")
    assert found.is_dir()


def stale_at(name, real):
    def fail(path, *args, **more):
        if str(path).endswith(name):
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return real(path, *args, **more)

    return fail


RACE = """
    import errno, os, sys, time
    from pathlib import Path
    code = int(sys.argv[3])
    if code:
        def no_links(*_, **__):
            raise OSError(code, os.strerror(code), sys.argv[1])
        os.link = no_links
    from dtj import files
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        files.create(Path(sys.argv[1], "folder", str(number)), f"{number} by {sys.argv[2]}".encode())
        print((Path(sys.argv[1], "folder", str(number))).read_text(), flush=True)
"""
NO_LINKS = [errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS]


@pytest.mark.parametrize("code", [0, *NO_LINKS], ids=lambda code: errno.errorcode.get(code, "links"))
def test_of_many_processes_that_create_a_file_the_first_one_wins_for_all(tmp_path, code):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(RACE), str(tmp_path), str(number), str(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(5)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    said = [racer.communicate("go\n", timeout=60)[0].splitlines() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    assert all(each == said[0] for each in said), "all read the same, from the moment on that it was there"
    assert len(said[0]) == 40
    shown = {path.name for path in (tmp_path / "folder").iterdir() if not path.name.endswith(files.FIRST)}
    assert shown == set(map(str, range(40)))


@pytest.fixture(params=NO_LINKS, ids=errno.errorcode.get)
def without_links(request, monkeypatch):
    def refuse(*_, **__):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("at", [0, 1])
def test_whoever_was_stopped_before_a_rename_replaces_nothing(without_links, tmp_path, monkeypatch, at):
    """However long: it may be a process of a node that was lost, and what it finds is of the incarnation after it."""
    note, seen = tmp_path / "note", []

    def successor():
        files.create(note, b"of the successor")
        seen.append(note.read_bytes())

    before_rename(monkeypatch, at, successor)
    files.create(note, b"of the one that was stopped")
    assert seen == [note.read_bytes()]


@pytest.mark.parametrize("at", [0, 1])
def test_whoever_was_killed_before_a_rename_is_waited_for_by_nobody(without_links, tmp_path, monkeypatch, at):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    with monkeypatch.context() as patch:
        before_rename(patch, at, kill)
        with pytest.raises(Killed):
            files.create(tmp_path / "note", b"killed")
    files.create(tmp_path / "note", b"next")
    assert (tmp_path / "note").read_bytes() in (b"killed", b"next")


def before_rename(monkeypatch, at, act):
    """Do something once, before rename number `at`."""
    acts = [act, *[lambda: None] * at]

    def hooked(real):
        def rename(self, target):
            if acts:
                acts.pop()()
            return real(self, target)

        return rename

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, hooked(getattr(Path, name)))


def test_a_job_restores_and_saves_on_a_volume_without_links(without_links, one_rank, monkeypatch, tmp_path):
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    for incarnation, expected in (("1", None), ("2", "step-1.i1"), ("3", "step-2.i2")):
        monkeypatch.setenv("DTJ_INCARNATION", incarnation)
        found = dtj.latest_checkpoint()
        assert (found.name if found else None) == expected
        with dtj.checkpoint_dir(int(incarnation)) as path:
            (path / "model").write_text("x")
    assert json.loads((tmp_path / "lineage/3").read_text()) == {"restored": "step-2.i2"}


def test_another_trouble_with_a_link_is_told(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError, match="No space left"):
        files.create(tmp_path / "note", b"mine")
    assert os.listdir(tmp_path) == []


def test_new_folders_are_on_the_disk_by_name(monkeypatch, tmp_path):
    """Else a machine that goes down takes the first checkpoint of a job with it, folder and all."""
    synced = []
    real = files.sync_folder
    monkeypatch.setattr(files, "sync_folder", lambda path: synced.append(path) or real(path))
    files.make_folder(tmp_path / "job" / "checkpoints")
    files.make_folder(tmp_path / "job" / "checkpoints")
    assert synced == [tmp_path, tmp_path / "job"]


def test_a_file_system_that_syncs_no_folders_is_no_trouble(monkeypatch, tmp_path):
    def refuse(_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    files.sync_folder(tmp_path)
