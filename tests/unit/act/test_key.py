"""The job's key when its Secret is deleted or changed under launchers that have read it."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from types import SimpleNamespace
from typing import Any

import pytest
from fake_kube import FakeKube
from operator_process import a_job, until
from plan_jobs import a_pod

from dtj_api import names, wire
from dtj_operator.act.control import Address, ControlError, KeyRefusedError
from dtj_operator.act.executor import Executor
from dtj_operator.act.links import Links
from dtj_operator.kube.resources import JOBS, SECRETS
from dtj_operator.observe.lookups import Facts
from dtj_operator.observe.records import job_record
from dtj_operator.observe.view import JobView
from dtj_operator.observe.world import World
from dtj_operator.plan.actions import Action, CreateKey, SendMeet
from dtj_operator.plan.value import Plan
from dtj_operator.render import Site

MEET = SendMeet("ner-worker-0000", "pod-0", "10.0.0.1", wire.Meet(2, 1, 1, "10.0.0.9:1"))


class Launcher:
    """Knows one key, as it read it at its start."""

    def __init__(self) -> None:
        self.key = b""
        self.asked: list[bytes] = []

    async def send(self, to: Address, message: wire.Message, key: bytes) -> wire.Report:
        self.asked.append(key)
        if key != self.key:
            raise KeyRefusedError(f"{to.pod} refuses the signature")
        return wire.Report(to.uid, 0, "meeting", 2, 0, 0, -1)


class Cluster:
    """A job with one launcher, and operators that come and go."""

    def __init__(self) -> None:
        self.kube, self.launcher = FakeKube(), Launcher()
        job = a_job("ner", 1)
        job["metadata"]["namespace"] = "default"
        self.record = job_record(self.kube.put(JOBS, job))
        self.restart()

    def restart(self) -> None:
        """A new operator process."""
        self.looked_at: list[str] = []
        self.world = World(self.kube, namespaces=(), wake=lambda key: None)
        self.world.jobs.get = lambda *_: self.record  # type: ignore[method-assign]
        self.world.lookups._facts[self.record.uid] = Facts()
        events: Any = SimpleNamespace(tell=lambda *_: None)
        launcher: Any = self.launcher
        self.links = Links(launcher, self.world, lambda: None, pause=0.01)
        self.world.look_at = self.looked_at.append  # type: ignore[method-assign, assignment]
        self.executor = Executor(self.kube, self.world, self.links, events, lambda: None, Site())

    async def do(self, action: Action, *, pods: bool = True) -> bool:
        view = JobView(
            now=0.0,
            name="ner",
            namespace="default",
            uid=self.record.uid,
            generation=1,
            resource_version=self.record.resource_version,
            created=0.0,
            spec=self.record.spec,
            pods=(a_pod(0),) if pods else (),
        )
        return (await self.executor.execute(view, Plan(view.status, actions=(action,)), write=False)).again

    async def said(self, times: int) -> None:
        """Wait until the launcher was asked so often."""

        async def now() -> bool:
            return len(self.launcher.asked) >= times

        await until(now, patience=60, pause=0)

    async def acknowledged(self) -> None:
        """Wait until the launcher took the message."""

        async def now() -> bool:
            return bool(self.world.reports.of(["pod-0"]))

        await until(now, patience=60, pause=0)

    async def look(self) -> bytes | None:
        """The operator looks for the key, as it does every few minutes."""
        return await self.world.lookups.key_anew(self.record)

    @property
    def key(self) -> bytes:
        return b64decode(self.kube.read(SECRETS, "ner-key")["data"][names.KEY_FIELD])

    @property
    def refusing(self) -> set[str]:
        return self.world.lookups.of(self.record.uid).refusing


@pytest.fixture
async def cluster():
    cluster = Cluster()
    await cluster.do(CreateKey("ner-key"), pods=False)
    cluster.launcher.key = cluster.key
    yield cluster
    await asyncio.gather(*cluster.links.close(), return_exceptions=True)


async def test_a_deleted_key_is_made_again_as_the_launchers_know_it(cluster):
    cluster.kube.remove(SECRETS, "ner-key")
    assert await cluster.look() is None
    await cluster.do(CreateKey("ner-key"))
    assert cluster.key == cluster.launcher.key
    await cluster.do(MEET)
    await cluster.acknowledged()


async def test_without_pods_nobody_knows_the_key_and_another_one_is_made(cluster):
    cluster.kube.remove(SECRETS, "ner-key")
    await cluster.look()
    await cluster.do(CreateKey("ner-key"), pods=False)
    assert cluster.key != cluster.launcher.key


async def test_a_key_that_was_deleted_while_the_job_was_suspended_is_another_one_after_it(cluster):
    assert cluster.record.status.template_hash == ""
    cluster.kube.remove(SECRETS, "ner-key")
    facts = await cluster.world.lookups.refresh(cluster.record, None)
    assert facts.key is None, "a suspended job has no pod that waits for it, so nothing is believed"
    await cluster.do(CreateKey("ner-key"))
    assert cluster.key != cluster.launcher.key


async def test_a_launcher_that_refuses_the_key_of_now_is_noted_once(cluster):
    cluster.kube.remove(SECRETS, "ner-key")
    cluster.restart()
    await cluster.do(CreateKey("ner-key"))
    assert cluster.key != cluster.launcher.key
    await cluster.do(MEET)
    await cluster.said(3)
    assert cluster.refusing == {"pod-0"}
    assert cluster.looked_at == [cluster.record.uid], "the plan has something new to think about, once"
    cluster.launcher.key = cluster.key
    await cluster.acknowledged()
    assert cluster.refusing == set()


async def test_a_key_that_changed_behind_our_back_is_read_again_before_anybody_is_blamed(cluster):
    other = b"b" * 64
    cluster.kube.edit(SECRETS, "ner-key", lambda it: it.update(data={"key": b64encode(other).decode()}))
    cluster.launcher.key = other
    await cluster.do(MEET)
    await cluster.acknowledged()
    assert cluster.refusing == set()
    assert cluster.launcher.asked[-1] == other


async def test_a_launcher_that_does_not_answer_refuses_nothing(cluster):
    async def send(_: Any, __: Any, key: bytes) -> None:
        cluster.launcher.asked.append(key)
        raise ControlError("no answer")

    cluster.launcher.send = send
    await cluster.do(MEET)
    await cluster.said(3)
    assert cluster.refusing == set()
