"""Whole reconciles in memory: real watches, plans and acts on the in-memory API server, with lives that can end.

One *life* is one operator process. It dies at a chosen write: from then on none of its calls reaches the server. The
next life begins with what the server holds, as a restarted process does. Pods are run by a kubelet of a few lines and
answered for by launchers of a few lines; time is a number that moves when nothing else is left to do.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from api_faults import Call, Crash
from fake_kube import FakeKube
from operator_process import a_job

from dtj_api import names, wire
from dtj_api.names import LauncherState
from dtj_operator.act.control import Address
from dtj_operator.act.events import EventPoster
from dtj_operator.act.executor import Executor
from dtj_operator.act.links import Links
from dtj_operator.act.progress import ProgressShare
from dtj_operator.kube import errors
from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import JOBS, PODS, Resource
from dtj_operator.observe.indexer import Key
from dtj_operator.observe.view import Installation, Reported
from dtj_operator.observe.world import World
from dtj_operator.queue import WorkQueue
from dtj_operator.reconcile import AT_ONCE, Reconciler, Unfinished
from dtj_operator.render import Site

NAME = "ner"
HORIZON = 30.0
"""Seconds that `settle` lets pass when only time can bring something."""


@dataclass
class Launchers:
    """PID 1 of all pods: they meet where they are told and then train."""

    reports: dict[str, wire.Report] = field(default_factory=dict)
    meets: list[tuple[str, wire.Meet]] = field(default_factory=list)

    def start(self, uid: str, index: int) -> None:
        """A pod's launcher is up."""
        waiting = wire.Report(uid, index, LauncherState.WAITING, 0, 0, 0, -1)
        self.reports.setdefault(uid, waiting)

    async def send(self, to: Address, message: wire.Message, key: bytes) -> wire.Report:
        """Stands in for `Control.send`."""
        assert key, "a message is signed"
        old = self.reports[to.uid]
        if isinstance(message, wire.Meet) and message.incarnation > old.incarnation:
            self.meets.append((to.uid, message))
            size = message.max_nodes
            self.reports[to.uid] = wire.Report(
                to.uid, old.index, LauncherState.TRAINING, message.incarnation, 1, size, old.index
            )
        return self.reports[to.uid]


class LauncherReports:
    """Stands in for `Reports`: the launchers are asked when a view is made."""

    def __init__(self, launchers: Launchers, changed: Callable[[str], None]) -> None:
        self._launchers = launchers
        self._changed = changed

    def of(self, uids: list[str]) -> dict[str, Reported]:
        """See `Reports`."""
        return {uid: Reported(0.0, self._launchers.reports[uid]) for uid in uids if uid in self._launchers.reports}

    def unanswered(self, uids: list[str]) -> dict[str, float]:
        """See `Reports`."""
        return {}

    def unreadable(self, uids: list[str]) -> tuple[str, ...]:
        """See `Reports`."""
        return ()

    def follow(self, uid: str, ip: str, job: str) -> None:
        """See `Reports`."""

    def hurry(self, uid: str) -> None:
        """See `Reports`."""

    def stop(self, uid: str) -> None:
        """See `Reports`."""

    def forget(self, uid: str) -> None:
        """See `Reports`."""

    def accept(self, uid: str, report: wire.Report) -> None:
        """See `Reports`."""
        self._changed(uid)


class Mortal:
    """The server as one life sees it. `dies(n, call)` says whether it dies at its n-th write, and when."""

    def __init__(self, kube: FakeKube, dies: Callable[[int, Call], str]) -> None:
        self._kube = kube
        self._dies = dies
        self._writes = 0
        self.dead = False

    async def _write(self, call: Call, make: Callable[[], Any]) -> Any:
        if self.dead:
            raise Crash
        when = ""
        if call.is_write:
            when = self._dies(self._writes, call)
            self._writes += 1
        if when == "before":
            self.dead = True
            raise Crash
        try:
            return await make()
        finally:
            # An answer that refuses is not heard either.
            if when == "after" or self.dead:
                self.dead = True
                raise Crash

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """See `KubeClient`."""
        call = Call("get", resource, namespace or "", name)
        return dict(await self._write(call, lambda: self._kube.get(resource, namespace, name)))

    async def list_page(self, resource: Resource, namespace: str | None, **more: Any) -> Object:
        """See `KubeClient`."""
        call = Call("list", resource, namespace or "", "")
        return dict(await self._write(call, lambda: self._kube.list_page(resource, namespace, **more)))

    def watch(self, resource: Resource, namespace: str | None, **more: Any) -> AsyncIterator[Object]:
        """See `KubeClient`."""
        return self._kube.watch(resource, namespace, **more)

    async def create(self, resource: Resource, namespace: str | None, body: Object, *, dry_run: bool = False) -> Object:
        """See `KubeClient`."""
        call = Call("create", resource, namespace or "", body["metadata"]["name"], dry_run)
        return dict(await self._write(call, lambda: self._kube.create(resource, namespace, body, dry_run=dry_run)))

    async def replace(self, resource: Resource, namespace: str | None, name: str, body: Object, **more: Any) -> Object:
        """See `KubeClient`."""
        call = Call("replace", resource, namespace or "", name)
        return dict(await self._write(call, lambda: self._kube.replace(resource, namespace, name, body, **more)))

    async def delete(self, resource: Resource, namespace: str | None, name: str, **more: Any) -> None:
        """See `KubeClient`."""
        call = Call("delete", resource, namespace or "", name)
        await self._write(call, lambda: self._kube.delete(resource, namespace, name, **more))


class Life:
    """One operator process, without the process."""

    def __init__(self, story: Story, dies: Callable[[int, Call], str], operator: Installation | None = None) -> None:
        client = Mortal(story.kube, dies)
        self._story = story
        self.queue: WorkQueue[Key] = WorkQueue()
        self.world = World(
            client,
            namespaces=(),
            wake=self.queue.add,
            make_reports=lambda _, changed: cast(Any, LauncherReports(story.launchers, changed)),
            clock=lambda: story.now,
            operator=operator,
        )
        poster = EventPoster(client, "test", clock=lambda: story.now)
        control: Any = story.launchers
        self._links = Links(control, self.world, lambda: None)
        executor = Executor(client, self.world, self._links, poster, lambda: None, Site())
        self._reconciler = Reconciler(self.world, executor, ProgressShare(clock=lambda: story.now))
        parts = [each.run() for each in self.world.reflectors]
        self._tasks = [asyncio.create_task(part) for part in (*parts, poster.run())]

    async def settle(self) -> None:
        """Reconcile until nothing is left to do, or raise `Crash`."""
        await self.world.wait_synced()
        horizon = self._story.now + HORIZON
        later: dict[Key, float] = {}
        while True:
            for _ in range(30):
                await asyncio.sleep(0)
            if len(self.queue) == 0:
                due = min(later.values(), default=horizon)
                if due >= horizon:
                    return
                self._story.now = max(self._story.now, due)
                for key in [key for key, at in later.items() if at <= self._story.now]:
                    del later[key]
                    self.queue.add(key)
                continue
            key = await self.queue.get()
            try:
                after = await self._reconciler.reconcile(key)
                if after == AT_ONCE:
                    self.queue.add(key)
                elif after is not None:
                    later[key] = min(later.get(key, horizon), self._story.now + after)
            except (errors.KubeError, Unfinished):
                later[key] = self._story.now + 0.1
            finally:
                self.queue.done(key)

    async def end(self) -> None:
        """Stop its watches and links."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._links.close(), return_exceptions=True)


class Story:
    """What happens to one job, told to one operator life after another."""

    def __init__(self, workers: int = 2, **spec: Any) -> None:
        self.kube = FakeKube()
        self.launchers = Launchers()
        self.now = 1_800_000_000.0
        job = a_job(NAME, workers, **spec)
        job["metadata"]["namespace"] = "default"
        self.kube.put(JOBS, job)

    @property
    def status(self) -> Object:
        """The job's status."""
        return dict(self.kube.read(JOBS, NAME)["status"])

    @property
    def uid(self) -> str:
        """The job's uid."""
        return str(self.kube.read(JOBS, NAME)["metadata"]["uid"])

    def run_pods(self) -> None:
        """The kubelets start all pods that wait, and their launchers answer."""
        for pod in self.kube.all(PODS):
            if pod.get("status"):
                continue
            uid, labels = pod["metadata"]["uid"], pod["metadata"]["labels"]
            address = f"10.0.0.{int(uid[-3:])}"
            main = {"name": pod["spec"]["containers"][0]["name"], "ready": True, "state": {"running": {}}}
            status = {"phase": "Running", "podIP": address, "containerStatuses": [main]}
            if labels[names.Label.COMPONENT] == names.Component.WORKER:
                self.launchers.start(uid, int(labels[names.Label.INDEX]))
            self.kube.edit(PODS, pod["metadata"]["name"], functools.partial(_set_status, status))

    def fail_pod(self, index: int) -> None:
        """A worker's container ends with exit code 1."""
        state = {"terminated": {"exitCode": 1, "message": "boom"}}
        status = {"phase": "Failed", "containerStatuses": [{"name": names.TRAINER_CONTAINER, "state": state}]}
        self.kube.edit(PODS, names.worker_name(NAME, index), lambda item: item.update(status=status))

    def set_spec(self, change: Callable[[Object], Any]) -> None:
        """The user edits the spec."""
        self.kube.edit(JOBS, NAME, lambda item: change(item["spec"]))


class Cluster:
    """A job that may train, and the operator's life of now; `end` it."""

    def __init__(self, workers: int = 2, operator: Installation | None = None) -> None:
        self.story = Story(workers)
        self._operator = operator
        self.life = Life(self.story, _immortal, operator)

    async def look(self) -> None:
        """Have the job looked at, until nothing is left to do."""
        self.life.queue.add(("default", NAME))
        await self.life.settle()

    async def train(self) -> None:
        """Run the pods that there are, and see the job train."""
        await self.life.settle()
        for _ in range(2):
            self.story.run_pods()
            await self.look()

    async def restart(self) -> None:
        """Another process takes over."""
        await self.life.end()
        self.life = Life(self.story, _immortal, self._operator)

    async def end(self) -> None:
        """Nobody looks any more."""
        await self.life.end()

    @property
    def frozen(self) -> float:
        """Seconds for which the job is not looked at, for an object that was made or deleted is still to be seen."""
        return self.life.world.expectations.wait(self.story.uid)

    def uids(self) -> dict[str, str]:
        """The pods' uids by name."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.story.kube.all(PODS)}


def _immortal(number: int, call: Call) -> str:
    return ""


def _set_status(status: dict[str, Any], item: dict[str, Any]) -> None:
    item.update(status=status)
