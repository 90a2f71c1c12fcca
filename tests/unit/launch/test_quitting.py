"""An incarnation that does not end, as when a hung volume holds its thread, ends the launcher; it still obeys."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from dtj_api.names import ExitCode
from dtj_api.wire import Meet, Progress
from dtj_trainer.launch import launcher
from dtj_trainer.launch.launcher import Launcher


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A launcher whose agent's thread is held."""
    monkeypatch.setattr(launcher, "QUIT_PATIENCE", 0.05)
    held = threading.Event()
    made: Any = Launcher.__new__(Launcher)
    made._agent = SimpleNamespace(leave=lambda: None)
    made._thread = threading.Thread(target=held.wait, daemon=True)
    made._thread.start()
    made.said = []
    made._fail = lambda error: made.said.append(error) or ExitCode.FAILED
    report = SimpleNamespace(state="Training", progress=Progress())
    made._board = SimpleNamespace(report=lambda: report, drain=lambda: None, incarnation=2)
    yield made
    held.set()


def test_the_next_incarnation_is_not_begun_beside_it(stuck: Any) -> None:
    assert stuck._handle(Meet(2, 2, 2, "127.0.0.1:1"), zygote=0) == ExitCode.FAILED
    assert stuck.said == ["the incarnation before 2 has not ended for 0.05 s"]


def test_sigterm_is_obeyed(stuck: Any) -> None:
    assert stuck._leave(save=False) == ExitCode.DRAINED
