"""The small parts: pauses, the termination message, what is there before a rank begins."""

import getpass
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest

from dtj_api.names import PRELOAD_ENV
from dtj_api.wire import Failure
from dtj_trainer.launch.main import provide_what_is_missing
from dtj_trainer.launch.meeting.backoff import Backoff
from dtj_trainer.launch.ranks import rank, zygote
from dtj_trainer.launch.ranks.errors import read_error
from dtj_trainer.launch.termination import describe_failure, write_termination


@pytest.mark.parametrize(
    ("lengths", "pauses"),
    [
        ([1], [0]),
        ([1, 1, 1, 1], [0, 1, 2, 4]),
        ([100, 1, 100, 1, 1], [0, 0, 0, 0, 1]),
        ([0] * 10, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]),
    ],
)
def test_rounds_that_end_soon_are_begun_ever_later(lengths, pauses):
    backoff = Backoff(1.0, 60.0)
    now, found = 0.0, []
    for length in lengths:
        backoff.begin(now)
        now += length
        found.append(backoff.next_pause(now))
        now += found[-1]
    assert found == pauses


def test_a_termination_message_keeps_its_beginning_and_its_end(tmp_path):
    failure = Failure(1, 2, 3, 0, 0.0, -9, "", "the tail", user_error=False)
    assert describe_failure(failure, "") == "rank 3 in incarnation 1, round 2: signal 9\nthe tail"
    write_termination(tmp_path / "log", "begin " + "x" * 10_000 + " end")
    text = (tmp_path / "log").read_text()
    assert len(text.encode()) <= 4096
    assert (text[:6], text[-4:]) == ("begin ", " end")
    write_termination(tmp_path / "no" / "folder", "x")


def test_what_a_preloaded_module_prints_is_printed_once(tmp_path):
    (tmp_path / "talks.py").write_text("print('hello from the module')")
    (tmp_path / "threads.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    script = (
        "import os, sys\nfrom dtj_trainer.launch.ranks.zygote import _import_all\n"
        "_import_all(['talks', 'threads', 'nowhere'])\npids = [os.fork() for _ in range(2)]\nsys.exit(0)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout.count("hello from the module") == 1
    assert "dtj: threads starts a thread when it is imported" in ran.stderr
    assert "dtj: nowhere could not be imported ahead: ModuleNotFoundError" in ran.stderr
    assert "talks" not in ran.stderr


@pytest.mark.parametrize("initialises", [True, False])
def test_a_preloaded_module_that_uses_cuda_is_told_of(tmp_path, monkeypatch, capfd, initialises):
    """torch says that a fork could not use CUDA any more in that fork alone."""
    parent = os.getpid()
    cuda = SimpleNamespace(_is_in_bad_fork=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(zygote, "failed_imports", [])
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "looks_for_gpus.py").write_text(f"import torch\nif {initialises}: torch.cuda.init()")
    cuda.init = lambda: setattr(cuda, "_is_in_bad_fork", lambda: os.getpid() != parent)
    monkeypatch.delitem(sys.modules, "looks_for_gpus", raising=False)
    zygote._import_all(["looks_for_gpus"])
    said = f"dtj: a module of {PRELOAD_ENV} uses CUDA when it is imported, and no rank can then; take it out\n"
    assert capfd.readouterr().err == said * initialises


def test_what_failed_first_is_told_first(tmp_path, monkeypatch):
    """A module of which one half is there fails in a way that explains nothing."""
    monkeypatch.setattr(zygote, "failed_imports", ["half could not be imported ahead: OSError: no space"])
    monkeypatch.setenv(rank.ERROR_FILE, str(tmp_path / "error.json"))
    rank._record(AssertionError("Artifact of type=precompile already registered"))
    told = read_error(tmp_path / "error.json")
    assert told
    then = "half could not be imported ahead: OSError: no space"
    assert told.message == f"AssertionError: Artifact of type=precompile already registered; before that, {then}"


def test_a_folder_for_temporary_files_and_a_name_are_made_where_there_are_none(tmp_path, monkeypatch):
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    for name in ("TMPDIR", "LOGNAME", "USER", "LNAME", "USERNAME"):
        # So that what is set here is undone.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    provide_what_is_missing(tmp_path)
    assert "TMPDIR" not in os.environ, "what is there is used"
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "gettempdir", none)
        patch.setattr(os, "getuid", lambda: 1_000_680_000)
        provide_what_is_missing(tmp_path)
        assert os.environ["TMPDIR"] == str(tmp_path / "tmp")
        assert getpass.getuser() == "uid-1000680000"
    assert (tmp_path / "tmp").is_dir()
