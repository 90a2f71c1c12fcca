"""What the creation benchmarks share: the raw client that is the floor, the operator beside it, and the figures."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from operator_process import OperatorProcess, connect, everything, install_crd, make_namespace, until

from dtj_api import names
from dtj_cluster import ControlPlane
from dtj_operator.kube import errors
from dtj_operator.kube.client import HttpKubeClient, Object
from dtj_operator.kube.resources import JOBS, NETWORK_POLICIES, PODS, SECRETS, SERVICES, Resource

IN_FLIGHT = 10
BAR = 1.3
"""Most that the operator may take, over what the floor takes."""
RIVALS = """Rivals, measured elsewhere (another 2-core machine with 50 kwok nodes that take the pods, Kubernetes 1.35.4,
their defaults; seconds, median):
  workers    raw client   JobSet   training-operator v1   Trainer v2
  8                0.07     0.31                   0.18         0.34
  64               0.56     2.76                   3.04         2.44
  256              3.17    14.15                  14.76         12.2
  1000             8.35     51.7                   49.8            -
  200 jobs x 2        -     41.9                   88.9            -"""


@dataclass
class Series:
    """Seconds of one thing, measured several times, with the machine's load before each."""

    seconds: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)

    def add(self, seconds: float, load: float) -> None:
        """Take one measurement."""
        self.seconds.append(round(seconds, 4))
        self.load.append(round(load, 2))

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        """Median and range."""
        return f"{self.median:7.2f} ({min(self.seconds):.2f}-{max(self.seconds):.2f})"

    def data(self) -> dict[str, Any]:
        """As JSON types."""
        return {"median": self.median, "seconds": self.seconds, "load": self.load}


@dataclass(frozen=True)
class Stage:
    """A control plane with one operator on it."""

    client: HttpKubeClient
    namespace: str
    operator: OperatorProcess


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Start a control plane without nodes, and an operator. Pods stay Pending on both sides: creating is timed."""
    with ControlPlane() as plane:
        async with connect(plane.kubeconfig) as client:
            await install_crd(client)
            await make_namespace(client, "bench")
            await make_namespace(client, "floor")
            with OperatorProcess(
                plane.kubeconfig, "bench", folder / "operator.log", "--no-leader-election", forked=False
            ) as operator:
                await operator.ready()
                yield Stage(client, "bench", operator)


class Arrivals:
    """Watches the pods of a namespace and knows when the n-th came."""

    def __init__(self, client: HttpKubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def wait(self, pods: int, version: str) -> float:
        """The moment (perf_counter) at which so many pods had been added after `version`."""
        seen: set[str] = set()
        async with asyncio.timeout(600):
            async for event in self._client.watch(PODS, self._namespace, version=version):
                if event["type"] == "ADDED":
                    seen.add(event["object"]["metadata"]["name"])
                if len(seen) >= pods:
                    return time.perf_counter()
        raise AssertionError("the watch ended")

    async def version(self) -> str:
        """Where to begin watching."""
        page = await self._client.list_page(PODS, self._namespace, limit=1)
        return str(page["metadata"]["resourceVersion"])


def bare(item: Object) -> Object:
    """An object as a client would send it: the same labels, environment and size, owned by nobody."""
    item = copy.deepcopy(item)
    kept = {key: item["metadata"][key] for key in ("name", "labels", "annotations") if key in item["metadata"]}
    made: Object = {key: item[key] for key in ("apiVersion", "kind", "data", "type") if key in item}
    if "spec" in item:
        made["spec"] = {key: value for key, value in item["spec"].items() if key != "nodeName"}
    return {**made, "metadata": kept}


async def all_bare(client: HttpKubeClient, namespace: str) -> list[tuple[Resource, Object]]:
    """All that was made for the jobs of a namespace, as a client would send it."""
    return [
        (resource, bare({"apiVersion": resource.api_version, "kind": resource.kind, **each}))
        for resource in (SECRETS, SERVICES, NETWORK_POLICIES, PODS)
        for each in await everything(client, resource, namespace)
        if names.Label.JOB_NAME in each["metadata"].get("labels", {})
    ]


async def raw(client: HttpKubeClient, namespace: str, pods: list[Object]) -> float:
    """Create pods with ten requests in flight; the answer is the seconds until the last one was created."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(pod: Object) -> None:
        async with slots:
            await client.create(PODS, namespace, pod)

    started = time.perf_counter()
    await asyncio.gather(*(one(pod) for pod in pods))
    return time.perf_counter() - started


async def raw_controller(
    client: HttpKubeClient, namespace: str, stored: list[Object], made: list[tuple[Resource, Object]]
) -> float:
    """The same objects from the same jobs, ten requests in flight: the user's POST, then one status write beside key,
    service, policy and pods, each owned by its job; the answer is the seconds until the last one was done.

    Args:
        client: the API server.
        namespace: one that no operator serves.
        stored: the jobs as an operator left them.
        made: what it made for them.
    """
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def call(make: Callable[[], Awaitable[Object]]) -> Object:
        async with slots:
            return await make()

    async def one(job: Object) -> None:
        name = job["metadata"]["name"]
        mine = [each for each in made if each[1]["metadata"]["labels"][names.Label.JOB_NAME] == name]
        bare_job = {"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": {"name": name}}
        posted = await call(lambda: client.create(JOBS, namespace, {**bare_job, "spec": job["spec"]}))
        owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": name, "uid": posted["metadata"]["uid"]}
        status = {**posted, "status": job["status"]}
        await asyncio.gather(
            call(lambda: client.replace(JOBS, namespace, name, status, subresource="status")),
            *(call(partial(client.create, resource, namespace, _owned(each, owner))) for resource, each in mine),
        )

    started = time.perf_counter()
    await asyncio.gather(*(one(job) for job in stored))
    return time.perf_counter() - started


def _owned(item: Object, owner: Object) -> Object:
    return {**item, "metadata": {**item["metadata"], "ownerReferences": [{**owner, "controller": True}]}}


async def clear(client: HttpKubeClient, namespace: str) -> None:
    """Delete all pods of a namespace at once and wait until they are gone. The garbage collector may be faster."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(pod: Object) -> None:
        async with slots:
            with contextlib.suppress(errors.NotFound, errors.Conflict):
                name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
                await client.delete(PODS, namespace, name, uid=uid, grace_seconds=0)

    async def gone() -> bool:
        left = await everything(client, PODS, namespace)
        await asyncio.gather(*(one(pod) for pod in left))
        return not left

    await until(gone)


async def remove(client: HttpKubeClient, *jobs: Object) -> None:
    """Delete jobs and all pods of their namespace."""
    for job in jobs:
        metadata = job["metadata"]
        await client.delete(JOBS, metadata["namespace"], metadata["name"], uid=metadata["uid"])
    await clear(client, jobs[0]["metadata"]["namespace"])


@dataclass
class Sides:
    """What is measured in turns: bare pods, the floor and the operator."""

    pods_alone: Series = field(default_factory=Series)
    floor: Series = field(default_factory=Series)
    ours: Series = field(default_factory=Series)

    async def turn(self, at: Stage, pods: int, post: Callable[[], Awaitable[list[Object]]], *, warms_up: bool) -> None:
        """Let `post` make jobs and wait until so many pods are there; then make the very same objects by hand.

        The operator's time begins with the first POST of a job. What only warms up is not counted.
        """
        arrivals = Arrivals(at.client, at.namespace)
        waiting = asyncio.create_task(arrivals.wait(pods, await arrivals.version()))
        before, started = load(), time.perf_counter()
        posted = await post()
        seconds = await waiting - started
        if not warms_up:
            self.ours.add(seconds, before)
        stored, made = await everything(at.client, JOBS, at.namespace), await all_bare(at.client, at.namespace)
        await remove(at.client, *posted)
        before = load()
        seconds = await raw_controller(at.client, "floor", stored, made)
        if not warms_up:
            self.floor.add(seconds, before)
        await remove(at.client, *await everything(at.client, JOBS, "floor"))
        before = load()
        seconds = await raw(at.client, "floor", [each for resource, each in made if resource is PODS])
        if not warms_up:
            self.pods_alone.add(seconds, before)
        await clear(at.client, "floor")

    @property
    def ratio(self) -> float:
        """The operator's time over that of the floor."""
        return self.ours.median / self.floor.median

    @property
    def loads(self) -> str:
        """The machine's load meanwhile, from the least to the most."""
        return f"{min(self.floor.load + self.ours.load):.1f}-{max(self.floor.load + self.ours.load):.1f}"

    def data(self) -> dict[str, Any]:
        """As JSON types."""
        sides = {"pods": self.pods_alone.data(), "floor": self.floor.data(), "operator": self.ours.data()}
        return {**sides, "ratio": round(self.ratio, 3)}


def load() -> float:
    """The machine's load now."""
    return os.getloadavg()[0]


def machine() -> str:
    """The machine in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
