"""Records are a help: a disk that takes none more keeps no job from being reconciled."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plan_jobs import NAME, NAMESPACE, a_job

from dtj_operator.act.progress import ProgressShare
from dtj_operator.plan import plan
from dtj_operator.reconcile import Reconciler
from dtj_operator.telemetry import record
from dtj_operator.telemetry.record import Recorder


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A recorder whose disk fails as told, and the moment that it is."""
    disk = SimpleNamespace(error=OSError(errno.ENOSPC, "No space left on device"), now=0.0)
    write = Path.write_text

    def write_text(file: Path, text: str) -> int:
        if disk.error is None:
            return write(file, text)
        write(file, text[:10])
        raise disk.error

    monkeypatch.setattr(Path, "write_text", write_text)
    disk.recorder = Recorder(tmp_path / "records", clock=lambda: disk.now)
    disk.folder = tmp_path / "records"
    return disk


async def test_a_job_is_reconciled_all_the_same(broken):
    view = a_job().replicas(1).admitted().view()
    done = []

    async def get(_: Any) -> Any:
        return view

    async def execute(*args: Any, **_: Any) -> Any:
        done.append(args)
        return SimpleNamespace(again=False)

    world: Any = SimpleNamespace(view=get, expectations=SimpleNamespace(wait=lambda _: 0.0), look_again=lambda _: None)
    executor: Any = SimpleNamespace(execute=execute, compare=lambda each: each)
    await Reconciler(world, executor, ProgressShare(), broken.recorder).reconcile((NAMESPACE, NAME))
    assert done, "what is due is done"


def test_each_kind_of_error_is_said_now_and_then_and_leaves_no_half_a_record(broken, caplog):
    view = a_job().view()
    due = plan(view)

    def said() -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert broken.recorder(view, due) is None
        return [each.message for each in caplog.records]

    (first,) = said()
    assert str(broken.folder) in first
    assert "No space left" in first
    assert said() == []
    broken.error = OSError(errno.EROFS, "Read-only file system")
    assert len(said()) == 1
    broken.now = record.AGAIN
    assert len(said()) == 1
    assert list(broken.folder.iterdir()) == []
    broken.error = None
    assert broken.recorder(view, due) == next(broken.folder.iterdir())
