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
from dtj_operator.kube.resources import JOBS, PODS, SECRETS

IN_FLIGHT = 10
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
                plane.kubeconfig, "bench", folder / "operator.log", "--no-leader-election"
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


def bare(pod: Object) -> Object:
    """A pod as a client would send it: the same labels, environment and size, owned by nobody."""
    pod = copy.deepcopy(pod)
    kept = {key: pod["metadata"][key] for key in ("name", "labels", "annotations") if key in pod["metadata"]}
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec}


async def raw(client: HttpKubeClient, namespace: str, pods: list[Object]) -> float:
    """Create pods with ten requests in flight; the answer is the seconds until the last one was created."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(pod: Object) -> None:
        async with slots:
            await client.create(PODS, namespace, pod)

    started = time.perf_counter()
    await asyncio.gather(*(one(pod) for pod in pods))
    return time.perf_counter() - started


async def raw_controller(client: HttpKubeClient, namespace: str, stored: list[Object], pods: list[Object]) -> float:
    """What no controller with a status and a secret of each job can do without: the user's POST, the secret, one status
    write and the pods, ten requests in flight; the answer is the seconds until the last one was done.

    Args:
        client: the API server.
        namespace: one that no operator serves.
        stored: the jobs as an operator left them.
        pods: all pods of those jobs.
    """
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def call(make: Callable[[], Awaitable[Object]]) -> Object:
        async with slots:
            return await make()

    async def one(job: Object) -> None:
        name = job["metadata"]["name"]
        bare_job = {"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": {"name": name}}
        made = await call(lambda: client.create(JOBS, namespace, {**bare_job, "spec": job["spec"]}))
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-key"}}
        mine = [pod for pod in pods if pod["metadata"]["labels"][names.Label.JOB_NAME] == name]
        await asyncio.gather(
            call(lambda: client.create(SECRETS, namespace, secret)),
            call(
                lambda: client.replace(JOBS, namespace, name, {**made, "status": job["status"]}, subresource="status")
            ),
            *(call(partial(client.create, PODS, namespace, pod)) for pod in mine),
        )

    started = time.perf_counter()
    await asyncio.gather(*(one(job) for job in stored))
    return time.perf_counter() - started


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


def load() -> float:
    """The machine's load now."""
    return os.getloadavg()[0]


def machine() -> str:
    """The machine in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
