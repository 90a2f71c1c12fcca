"""Reporting never blocks a rank and never fails it, whatever the launcher does."""

import json
import os
import socket
import subprocess
import sys
import time
import types
from datetime import timedelta

import pytest

import dtj
from dtj import link as link_module
from dtj import reporting
from dtj.stages import Stages, stages


@pytest.fixture
def launcher(monkeypatch, tmp_path):
    """A socket that stands for the launcher's, and a fresh end of the rank's."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "ranks.sock"))
    listener.listen()
    monkeypatch.setenv("DTJ_RANK_SOCKET", str(tmp_path / "ranks.sock"))
    fresh(monkeypatch)
    yield listener
    listener.close()
    if connection := reporting.link._socket:
        connection.close()


def fresh(monkeypatch):
    one = link_module.Link()
    monkeypatch.setattr(reporting, "link", one)
    monkeypatch.setattr("dtj.saving.link", one)
    monkeypatch.setattr(reporting, "work", reporting.Work())
    monkeypatch.setattr(reporting, "_last_report", None)
    # Some test before may have looked at the memory a moment ago.
    monkeypatch.setattr(reporting, "_last_memory", 0.0)
    for attribute, value in vars(Stages()).items():
        monkeypatch.setattr(stages, attribute, value)


def heard(connection) -> dict:
    return json.loads(connection.recv(65536))


def test_a_report_carries_what_was_done(launcher, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("DTJ_ROUND", "2")
    monkeypatch.setenv("DTJ_INCARNATION", "5")
    dtj.report(step=1, loss=0.5, tokens=100, samples=8)
    dtj.report(step=3, loss=float("nan"), tokens=100)
    connection, _ = launcher.accept()
    with connection:
        place = {"rank": 3, "local_rank": 1, "round": 2, "incarnation": 5}
        assert heard(connection) == {"type": "hello", **place, "library": os.path.realpath(dtj.__path__[0])}
        one, two = heard(connection), heard(connection)
    assert (one["step"], one["loss"], one["tokens_done"], one["samples_done"]) == (1, 0.5, 100, 8)
    assert "step_seconds" not in one
    assert one["memory"] > 1e6
    assert (two["loss"], two["tokens_done"], two["samples_done"]) == ("nan", 200, 8)
    assert two["step_seconds"] > 0


def test_a_misspelt_name_is_refused_at_once():
    with pytest.raises(TypeError, match="toknes"):
        dtj.report(step=1, toknes=100)


def test_phases_nest(launcher):
    with dtj.phase("train"), dtj.phase("checkpoint"):
        pass
    connection, _ = launcher.accept()
    with connection:
        heard(connection)
        assert [heard(connection)["phase"] for _ in range(4)] == ["train", "checkpoint", "train", ""]


@pytest.mark.parametrize(("phase", "told"), [("checkpoint", 7200.0), ("evaluate", None)])
def test_a_save_tells_how_long_the_script_would_wait_for_a_rank_that_does_not_come(launcher, phase, told):
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=timedelta(hours=2))
    try:
        with dtj.phase(phase):
            pass
    finally:
        dist.destroy_process_group()
    connection, _ = launcher.accept()
    with connection:
        heard(connection)
        assert [heard(connection).get("patience") for _ in range(2)] == [told, None]


def test_a_launcher_that_does_not_read_blocks_nobody(launcher):
    began = time.monotonic()
    for step in range(20_000):
        dtj.report(step=step, tokens=1)
    assert reporting.work.done == {"tokens": 20_000}
    # With a deadline far above what it takes, and far below what a blocked send would.
    assert time.monotonic() - began < 30
    connection, _ = launcher.accept()
    connection.close()


@pytest.mark.parametrize("when", ["never there", "gone before", "gone after"])
def test_a_launcher_that_is_not_there_is_no_error(monkeypatch, launcher, when):
    if when == "never there":
        monkeypatch.delenv("DTJ_RANK_SOCKET")
    elif when == "gone before":
        launcher.close()
    else:
        dtj.report(step=1)
        launcher.accept()[0].close()
    for step in range(3):
        dtj.report(step=step)
        assert not dtj.should_save()
    dtj.done()


def test_a_forked_child_does_not_speak_for_its_rank(launcher):
    dtj.report(step=1)
    pid = os.fork()
    if pid == 0:
        dtj.report(step=2)
        os._exit(0)
    os.waitpid(pid, 0)
    dtj.report(step=3)
    connection, _ = launcher.accept()
    with connection:
        heard(connection)
        assert [heard(connection)["step"] for _ in range(2)] == [1, 3]


def test_the_import_brings_neither_torch_nor_transformers():
    program = "import sys, dtj; print([m for m in ('torch', 'transformers', 'numpy', 'pydantic') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dtj.nothing


def test_the_transformers_callback_declares_its_evaluations(launcher):
    callback = dtj.TrainerCallback()
    for _ in range(2):
        callback.on_prediction_step(None, None, None)
        callback.on_prediction_step(None, None, None)
        callback.on_evaluate(None, None, None)
    connection, _ = launcher.accept()
    with connection:
        assert heard(connection)["type"] == "hello"
        assert [heard(connection)["phase"] for _ in range(4)] == ["evaluate", "", "evaluate", ""]


def test_the_transformers_callback_declares_a_save_before_the_trainer_writes(launcher):
    callback = dtj.TrainerCallback()
    saves = types.SimpleNamespace(should_save=True)
    callback.on_epoch_end(None, None, saves)
    callback.on_epoch_end(None, None, saves)
    callback.on_step_begin(None, None, None)
    callback.on_epoch_end(None, None, types.SimpleNamespace(should_save=False))
    callback.on_prediction_step(None, None, None)
    callback.on_predict(None, None, None, {})
    connection, _ = launcher.accept()
    with connection:
        assert heard(connection)["type"] == "hello"
        said = [heard(connection)["phase"] for _ in range(6)]
        assert said == ["checkpoint", "", "checkpoint", "", "evaluate", ""]


def test_a_report_does_not_ask_the_driver_for_a_gpu(launcher, monkeypatch):
    """A process that has asked can fork no child that uses one: `Cannot re-initialize CUDA in forked subprocess`."""
    import torch

    def asked():
        raise AssertionError("cudaGetDeviceCount")

    monkeypatch.setattr(torch.cuda, "is_available", asked)
    dtj.report(step=1)
    connection, _ = launcher.accept()
    with connection:
        heard(connection)
        assert heard(connection)["memory"] > 1e6
