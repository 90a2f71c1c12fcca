"""Messages to launchers: no reconcile waits for a pod, each is said once, who does not answer is asked less often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from operator_process import until
from plan_jobs import NOW, a_job

from dtj_api import wire
from dtj_operator.act import links as module
from dtj_operator.act.control import Address, ControlError
from dtj_operator.act.executor import Executor
from dtj_operator.act.links import SAID_AGAIN, Links
from dtj_operator.kube import errors
from dtj_operator.leader import LeadershipLost
from dtj_operator.observe.view import JobView, Reported
from dtj_operator.plan.actions import Send, SendMeet, SendSave
from dtj_operator.plan.value import Plan
from dtj_operator.render import Site


def meet(index: int, incarnation: int = 2) -> SendMeet:
    address = f"127.0.0.{index + 1}"
    return SendMeet(f"w-{index}", f"pod-{index}", address, wire.Meet(incarnation, 2, 2, "127.0.0.1:1"))


def save(index: int, name: str = "resize-1") -> SendSave:
    return SendSave(f"w-{index}", f"pod-{index}", f"127.0.0.{index + 1}", wire.Save(2, name))


@dataclass
class Launchers:
    """What was said to whom. Those in `deaf` never answer, those in `refusing` answer with an error."""

    said: list[tuple[str, wire.Message]] = field(default_factory=list)
    deaf: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    open: int = 0
    most: int = 0

    async def send(self, to: Address, message: wire.Message, key: bytes) -> wire.Report:
        assert key == b"key"
        self.said.append((to.uid, message))
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0)
            if to.uid in self.deaf:
                await asyncio.Event().wait()
            if to.uid in self.refusing:
                raise ControlError(f"{to.pod} does not answer")
            return wire.Report(to.uid, 0, "meeting", 2, 0, 0, -1)
        finally:
            self.open -= 1

    def to(self, uid: str) -> list[wire.Message]:
        return [message for to, message in self.said if to == uid]


class World:
    def __init__(self) -> None:
        self.view = a_job().replicas(2).running().view(NOW)
        self.answers: list[str] = []
        self.looked_at: list[str] = []
        self.reports: Any = SimpleNamespace(accept=lambda uid, report: self.answers.append(uid))
        self.job: Any = SimpleNamespace(uid=self.view.uid, namespace="ml", name="ner")
        self.jobs: Any = SimpleNamespace(get=lambda *_: self.job)
        self.key: bytes | Exception | None = b"key"
        self.facts: Any = SimpleNamespace(refusing=set())
        self.lookups: Any = SimpleNamespace(key=self._key, key_anew=self._key, of=lambda _: self.facts)
        self.expectations: Any = SimpleNamespace()

    async def _key(self, _: Any) -> bytes | None:
        if isinstance(self.key, Exception):
            raise self.key
        return self.key

    def look_at(self, uid: str) -> None:
        self.looked_at.append(uid)


class Room:
    """Links to some launchers."""

    def __init__(self, **more: Any) -> None:
        self.world, self.launchers = World(), Launchers()
        self.allowed = True
        self.links = Links(self.launchers, self.world, self._fence, **more)  # type: ignore[arg-type]
        events: Any = SimpleNamespace(tell=lambda *_: None)
        self.executor = Executor(SimpleNamespace(), self.world, self.links, events, lambda: None, Site())  # type: ignore[arg-type]

    def _fence(self) -> None:
        if not self.allowed:
            raise LeadershipLost("not ours")

    def want(self, *sends: Send, view: JobView | None = None) -> None:
        self.links.want(view or self.world.view, {each.uid: each for each in sends})

    async def act(self, *sends: Send) -> None:
        """Carry out a plan with these messages."""
        await self.executor.execute(self.world.view, Plan(self.world.view.status, actions=sends), write=False)

    async def settled(self, uids: set[str]) -> None:
        """Wait until these have acknowledged."""
        await becomes(lambda: uids <= set(self.world.answers))


async def becomes(true: Callable[[], bool]) -> None:
    async def now() -> bool:
        return true()

    await until(now, patience=60, pause=0)


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
async def room():
    room = Room()
    yield room
    await asyncio.gather(*room.links.close(), return_exceptions=True)


async def test_a_reconcile_does_not_wait_for_a_pod_that_does_not_answer(room):
    room.launchers.deaf.add("pod-1")
    await asyncio.wait_for(room.act(meet(0), meet(1)), 60)
    await room.settled({"pod-0"})
    assert room.world.answers == ["pod-0"]


async def test_a_save_is_asked_once_however_often_it_is_planned(room, rests):
    for _ in range(20):
        await room.act(save(0), save(1))
        await turns()
    assert rests.seconds == [], "nobody waits to ask again"
    assert room.launchers.to("pod-0") == [wire.Save(2, "resize-1")]
    assert len(room.launchers.said) == 2


async def test_another_save_is_another_message(room):
    await room.act(save(0))
    await room.settled({"pod-0"})
    await room.act(save(0, "resize-2"))
    await becomes(lambda: len(room.launchers.to("pod-0")) == 2)


class Rests:
    """The pauses of links, which end when the test says so."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._go = asyncio.Event()

    async def rest(self, _: asyncio.Event, seconds: float) -> None:
        self.seconds.append(seconds)
        await self._go.wait()
        self._go.clear()

    async def end(self) -> None:
        await becomes(lambda: bool(self.seconds))
        self._go.set()


@pytest.fixture
def rests(monkeypatch):
    rests = Rests()
    monkeypatch.setattr(module, "_rest", rests.rest)
    monkeypatch.setattr(module.random, "uniform", lambda low, high: high)
    return rests


async def test_who_has_acknowledged_and_does_not_show_it_is_told_again_after_a_while(room, rests):
    await room.act(meet(0))
    await room.settled({"pod-0"})
    await room.act(meet(0))
    await turns()
    assert len(room.launchers.said) == 1
    assert rests.seconds == [SAID_AGAIN]
    await rests.end()
    await becomes(lambda: len(room.launchers.said) == 2)


async def test_who_does_not_answer_is_asked_less_and_less_often(room, rests):
    room.launchers.refusing.add("pod-0")
    room.want(meet(0))
    for tried in range(1, 8):
        await becomes(lambda tried=tried: len(rests.seconds) == tried)
        await rests.end()
    assert rests.seconds == [1, 2, 4, 8, 16, 30, 30]


async def test_who_is_heard_of_again_is_told_at_once(room):
    room.launchers.refusing.add("pod-0")
    room.want(meet(0))
    await becomes(lambda: len(room.launchers.said) == 1)
    room.launchers.refusing.clear()
    heard = a_job().replicas(2).running().view(NOW)
    report = wire.Report("pod-0", 0, "waiting", 0, 0, 0, -1)
    object.__setattr__(heard, "reports", {"pod-0": Reported(NOW + 5, report)})
    room.want(meet(0), view=heard)
    await room.settled({"pod-0"})


async def test_the_last_plan_has_the_word(room):
    room.launchers.deaf.add("pod-0")
    room.want(meet(0, 2))
    await becomes(lambda: len(room.launchers.said) == 1)
    room.launchers.deaf.clear()
    room.want(meet(0, 3))
    await room.settled({"pod-0"})
    assert [message.incarnation for message in room.launchers.to("pod-0")] == [2, 3]


async def test_what_is_not_wanted_any_more_is_not_said(room):
    room.launchers.deaf.add("pod-0")
    room.want(save(0))
    await becomes(lambda: room.launchers.open == 1)
    room.want()
    await becomes(lambda: room.launchers.open == 0)
    assert room.links._links == {}


async def test_a_job_that_is_gone_leaves_no_link(room, rests):
    """Nobody plans anything for it any more."""
    room.want(meet(0), meet(1))
    await room.settled({"pod-0", "pod-1"})
    tasks = [link._task for link in room.links._links[room.world.view.uid].values()]
    room.world.job = None
    await rests.end()
    await becomes(lambda: all(task.done() for task in tasks))
    assert room.links._links == {}
    assert len(room.launchers.said) == 2


@pytest.mark.parametrize("key", [None, errors.Unavailable("GET", "away")])
async def test_without_the_key_nothing_is_said_and_nothing_is_lost(key):
    room = Room(pause=0.01)
    room.world.key = key
    room.want(meet(0))
    await turns()
    assert room.launchers.said == []
    room.world.key = b"key"
    await room.settled({"pod-0"})


async def test_a_job_has_its_share_of_connections_and_others_need_not_wait():
    room = Room(in_all=6, per_job=4)
    room.launchers.deaf = {f"pod-{index}" for index in range(10)}
    room.want(*(meet(index) for index in range(10)))
    await becomes(lambda: room.launchers.open == 4)
    await turns()
    assert room.launchers.open == 4
    other = a_job().replicas(2).running().view(NOW)
    object.__setattr__(other, "uid", "another")
    room.world.job.uid = "another"
    room.links.want(other, {"pod-20": meet(20)})
    await room.settled({"pod-20"})
    await asyncio.gather(*room.links.close(), return_exceptions=True)


async def test_who_leads_no_more_says_nothing(room):
    room.allowed = False
    room.want(meet(0))
    await turns()
    assert room.launchers.said == []
    room.allowed = True
    room.launchers.deaf.add("pod-1")
    room.want(meet(1))
    await becomes(lambda: room.launchers.open == 1)
    await asyncio.gather(*room.links.close(), return_exceptions=True)
    assert room.launchers.open == 0


async def test_nobody_is_told_for_a_job_that_is_gone(room):
    room.world.job = None
    room.want(meet(0))
    await turns()
    assert room.launchers.said == []
