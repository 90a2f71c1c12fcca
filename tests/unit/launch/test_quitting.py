"""An incarnation that does not end, as when a hung volume holds its thread, ends the launcher; it still obeys."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from dtj_api.names import ExitCode
from dtj_api.wire import Meet, Progress
from dtj_trainer.launch import launcher
from dtj_trainer.launch.events import Terminate
from dtj_trainer.launch.inbox import Inbox
from dtj_trainer.launch.incarnation.round_end import PEERS_GRACE
from dtj_trainer.launch.launcher import Launcher


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A launcher whose agent's thread is held."""
    monkeypatch.setattr(launcher, "QUIT_PATIENCE", 0.05)
    monkeypatch.setattr(launcher, "LEAST_QUIT", 0.05)
    held = threading.Event()
    made: Any = Launcher.__new__(Launcher)
    made._agent = SimpleNamespace(leave=lambda grace: None, hurry=lambda: None, trains=False)
    made._thread = threading.Thread(target=held.wait, daemon=True)
    made._thread.start()
    made.events = queue.SimpleQueue()
    made._inbox = Inbox(made.events)
    made._settings = SimpleNamespace(grace=0.1)
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


def test_sigterm_is_heard_while_it_is_waited_for(stuck: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the wait, by which a kubelet's patience would be used up."""
    monkeypatch.setattr(launcher, "QUIT_PATIENCE", 3600.0)
    stuck.events.put(Terminate())
    assert stuck._handle(Meet(2, 2, 2, "127.0.0.1:1"), zygote=0) is None
    assert stuck.said == []
    assert stuck._inbox.take() == Terminate()


def test_a_pod_that_leaves_ends_within_its_grace_period(stuck: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "QUIT_PATIENCE", 3600.0)
    assert stuck._leave(save=False) == ExitCode.DRAINED


def test_ranks_that_end_by_themselves_as_a_peer_leaves_have_their_time_in_any_case() -> None:
    """A meeting that is called meanwhile waits for them, and is no failure of this pod."""
    assert launcher.QUIT_PATIENCE >= PEERS_GRACE + 30.0
