"""The operator as a process against a real API server, and a client to see what it does there."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import earlier
import operator_nursery

from dtj_api import names
from dtj_api.crd import crd
from dtj_operator.kube import credentials, errors
from dtj_operator.kube.client import HttpKubeClient, Object
from dtj_operator.kube.resources import CRDS, JOBS, PODS, Resource
from dtj_operator.observe.indexer import controller_of

NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
PATIENCE = 60.0


def a_job(name: str, replicas: int, **spec: Any) -> Object:
    """A job that any node could run. Without nodes its pods stay Pending."""
    container = {"name": names.TRAINER_CONTAINER, "image": "example.com/train:1", "command": ["python", "train.py"]}
    workers = {"replicas": replicas, "template": {"spec": {"containers": [container]}}, **spec.pop("workers", {})}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"workers": workers, **spec},
    }


@contextlib.asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[HttpKubeClient]:
    """A client with all rights."""
    client = HttpKubeClient(await credentials.load(str(kubeconfig)))
    try:
        yield client
    finally:
        await client.close()


async def install_crd(client: HttpKubeClient) -> None:
    """Install the CRD, unless it is there, and wait until jobs can be made."""
    with contextlib.suppress(errors.AlreadyExists):
        await client.create(CRDS, None, crd())

    async def served() -> bool:
        try:
            await client.list_page(JOBS, None)
        except errors.NotFound:
            return False
        return True

    await until(served)


async def make_namespace(client: HttpKubeClient, name: str) -> None:
    """Make a namespace."""
    await client.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


async def until(condition: Callable[[], Any], *, patience: float = PATIENCE, pause: float = 0.05) -> Any:
    """Wait for an asynchronous condition to give something true, and give that."""
    async with asyncio.timeout(patience):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(pause)


async def everything(client: HttpKubeClient, resource: Resource, namespace: str) -> list[Object]:
    """All objects of a resource in a namespace."""
    items: list[Object] = []
    token = ""
    while True:
        page = await client.list_page(resource, namespace, token=token)
        items += page["items"]
        token = page["metadata"].get("continue") or ""
        if not token:
            return items


async def children(client: HttpKubeClient, resource: Resource, job: Object) -> dict[str, Object]:
    """The objects that a job controls, by name."""
    items = await everything(client, resource, job["metadata"]["namespace"])
    return {item["metadata"]["name"]: item for item in items if controller_of(item) == job["metadata"]["uid"]}


async def pods_of(client: HttpKubeClient, job: Object) -> dict[str, Object]:
    """The pods that a job controls, by name."""
    return await children(client, PODS, job)


async def created(client: HttpKubeClient, namespace: str, job: Object) -> Object:
    """Create a job; as stored."""
    return await client.create(JOBS, namespace, job)


async def edit(
    client: HttpKubeClient,
    resource: Resource,
    namespace: str | None,
    name: str,
    change: Callable[[Object], None],
    subresource: str | None = None,
) -> None:
    """Change an object that others write too, as often as it takes."""

    async def done() -> bool:
        item = await client.get(resource, namespace, name)
        change(item)
        try:
            await client.replace(resource, namespace, name, item, subresource=subresource)
        except errors.Conflict:
            return False
        return True

    await until(done)


async def pods_are(client: HttpKubeClient, job: Object, wanted: set[str]) -> dict[str, Object]:
    """Wait until the job controls these pods and no others, and give them by name."""

    async def complete() -> list[dict[str, Object]] | None:
        found = await pods_of(client, job)
        return [found] if set(found) == wanted else None

    (pods,) = await until(complete)
    found: dict[str, Object] = pods
    return found


async def child_is(client: HttpKubeClient, resource: Resource, job: Object, name: str) -> Object:
    """Wait until this is the only object of the resource that the job controls, and give it."""

    async def there() -> Object | None:
        found = await children(client, resource, job)
        return found[name] if set(found) == {name} else None

    found: Object = await until(there)
    return found


async def phase_is(client: HttpKubeClient, namespace: str, name: str, phase: str) -> Object:
    """Wait until the job is in a phase, and give it."""

    async def there() -> Object | None:
        job = await client.get(JOBS, namespace, name)
        return job if (job.get("status") or {}).get("phase") == phase else None

    found: Object = await until(there)
    return found


def names_of(name: str, workers: int) -> set[str]:
    """Names of all pods of a job."""
    return {names.store_name(name), *(names.worker_name(name, index) for index in range(workers))}


class OperatorProcess:
    """One `dtj-operator run`. Use it as a context manager; its log is at `log`.

    Args:
        kubeconfig: of the API server.
        namespace: that it serves; empty: what `args` say.
        log: file for its output.
        args: further arguments.
        code: the tree of another version, which it is of.
        forked: False: it starts with an interpreter of its own, where its own figures are measured.
    """

    def __init__(
        self, kubeconfig: Path, namespace: str, log: Path, *args: str, code: Path | None = None, forked: bool = True
    ) -> None:
        self.log = log
        self._output = log.open("ab")
        words = [
            *("run", "--kubeconfig", str(kubeconfig)),
            *("--metrics-host", "127.0.0.1", "--metrics-port", "0", "--log-format", "text"),
            *(("--probe-port", "0") if code is None else ()),
            *(("--namespace", namespace) if namespace else ()),
            *args,
        ]
        self.process: subprocess.Popen[bytes] | operator_nursery.Fork
        if code is None and forked:
            self.process = operator_nursery.fork(words, self._output.fileno())
        else:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dtj_operator", *words],
                stdout=self._output,
                stderr=self._output,
                env=None if code is None else earlier.environment(code),
            )

    def __enter__(self) -> OperatorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()

    async def ready(self) -> str:
        """Wait until its watches are complete; the answer is the URL of health."""
        url = await until(lambda: self._url("health"))
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                async with session.get(f"{url}/readyz") as response:
                    return response.status == 200

            await until(answers)
        return str(url)

    async def leads(self, times: int = 1) -> None:
        """Wait until it holds the lease, for the so-manieth time."""

        async def says_so() -> bool:
            return self.text().count("leading as") >= times

        await until(says_so)

    async def health(self, path: str) -> tuple[int, str]:
        """Status and text of /healthz or /readyz."""
        url = await until(lambda: self._url("health"))
        async with aiohttp.ClientSession() as session, session.get(f"{url}{path}") as response:
            return response.status, await response.text()

    async def says(self, text: str) -> None:
        """Wait until its log has a text."""

        async def there() -> bool:
            return text in self.text()

        await until(there)

    async def metrics(self) -> str:
        """Its /metrics page."""
        async with aiohttp.ClientSession() as session, session.get(f"{await self._url('metrics')}/metrics") as response:
            return await response.text()

    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text()

    def peak_memory(self) -> int:
        """The most bytes of memory that it has had at any time."""
        (line,) = [
            each for each in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if "VmHWM" in each
        ]
        return int(line.split()[1]) * 1024

    def end(self, number: signal.Signals) -> int:
        """Signal it and wait; the answer is its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    async def _url(self, what: str) -> str:
        assert self.process.poll() is None, f"the operator ended: {self.text()}"
        ports = re.findall(rf"{what} on port (\d+)", self.text())
        return f"http://127.0.0.1:{ports[-1]}" if ports else ""
