"""A rank that comes before rank 0 connects as soon as that listens, and torch never waits after a refusal."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from dtj_api.ports import keep_port
from dtj_trainer.launch.ranks import first_connect

A_MINUTE = timedelta(minutes=1)


class Torch:
    """`torch.distributed.rendezvous`, whose TCPStore notes whether it would have been refused."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.TCPStore = self._connect

    def _connect(self, *, host_name: str, port: int, **_: object) -> str:
        try:
            socket.create_connection((host_name, port), 5.0).close()
        except OSError:
            self.asked.append(False)
        else:
            self.asked.append(True)
        return "a store"


@pytest.fixture
def torch(monkeypatch):
    rendezvous = Torch()
    monkeypatch.setitem(first_connect.sys.modules, "torch.distributed.rendezvous", rendezvous)
    first_connect.look_often(2)
    return rendezvous


@pytest.fixture
def port():
    """A port that refuses until somebody listens."""
    with keep_port() as held:
        yield held


def ask(torch: Torch, held: socket.socket, /, **other: object) -> str:
    return torch.TCPStore(
        **{
            "host_name": "127.0.0.1",
            "port": held.getsockname()[1],
            "world_size": 2,
            "is_master": False,
            "timeout": A_MINUTE,
            **other,
        }
    )


def test_who_comes_first_waits_until_rank_0_listens(torch, port, monkeypatch):
    refused = threading.Event()
    monkeypatch.setattr(first_connect, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: refused.set()))
    rank = threading.Thread(target=ask, args=(torch, port))
    rank.start()
    assert refused.wait(60)
    assert torch.asked == []
    port.listen()
    rank.join(60)
    assert torch.asked == [True]


def test_who_comes_later_connects_at_once(torch, port, monkeypatch):
    monkeypatch.setattr(first_connect, "time", SimpleNamespace(monotonic=lambda: 0.0))
    port.listen()
    assert ask(torch, port) == "a store"
    assert torch.asked == [True]


@pytest.mark.parametrize(
    "other",
    [
        {"is_master": True},
        {"timeout": timedelta(0)},
        {"timeout": 60.0},
        {"port": "29500"},
        {"host_name": None},
        {"host_name": "no.such.host.invalid"},
    ],
    ids=["rank 0", "out of time", "another timeout", "another port", "no host", "an unknown host"],
)
def test_everything_else_is_torchs_to_say(port, other, monkeypatch):
    monkeypatch.setattr(first_connect, "time", SimpleNamespace(monotonic=lambda: 0.0))
    said: list[dict[str, object]] = []
    rendezvous = SimpleNamespace(TCPStore=lambda **words: said.append(words))
    monkeypatch.setitem(first_connect.sys.modules, "torch.distributed.rendezvous", rendezvous)
    first_connect.look_often(2)
    ask(rendezvous, port, **other)
    assert said[0].items() >= other.items()


def test_torch_waits_in_its_own_way_where_nobody_listens_for_long(torch, port, monkeypatch):
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr(first_connect, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    ask(torch, port)
    assert torch.asked == [False]
    assert next(clock) <= first_connect.LONGEST + 20


def test_a_large_world_keeps_torchs_waits(monkeypatch):
    rendezvous = Torch()
    monkeypatch.setitem(first_connect.sys.modules, "torch.distributed.rendezvous", rendezvous)
    first_connect.look_often(first_connect.MAX_RANKS + 1)
    assert rendezvous.TCPStore == rendezvous._connect


def test_nothing_is_done_where_torch_is_not_imported(monkeypatch):
    monkeypatch.delitem(first_connect.sys.modules, "torch.distributed.rendezvous", raising=False)
    first_connect.look_often(2)
