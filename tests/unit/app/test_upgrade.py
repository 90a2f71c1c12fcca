"""An upgrade, the way back and the upgrade once more, by operators of both versions as processes: no pod is remade, and
no failure is lost or counted twice.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import earlier
import pytest
import yaml
from fake_apiserver import FakeApiServer
from hostile import HonestLauncher, run_pod
from operator_process import OperatorProcess, a_job, connect, created, names_of, phase_is, pods_are, until

from dtj_api import names
from dtj_api.crd import crd
from dtj_api.names import LauncherState
from dtj_api.wire import STORE_PROTOCOL
from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import JOBS, NETWORK_POLICIES, PODS, SECRETS, SERVICES

NAME, NAMESPACE, RELEASE = "ner", "default", "dtj"
ADDRESSES = ("127.0.3.1", "127.0.3.2")
STORE_ADDRESS = "127.0.3.3"
CHILDREN = (PODS, SERVICES, SECRETS, NETWORK_POLICIES)
MAX_RESTARTS = 10


class EarlierLauncher(HonestLauncher):
    """A launcher of the first version: of what came later its reports have nothing."""

    def body(self) -> bytes:
        told = json.loads(super().body())
        del told["store_protocol"]
        return json.dumps(told).encode()


def unknown(schema: Any, to: Any, path: str = "") -> Iterator[str]:
    """The fields of a schema that another one lacks, as paths."""
    inner, other = (each.get("properties") or each.get("items", {}).get("properties") or {} for each in (schema, to))
    for name, field in inner.items():
        if name not in other:
            yield f"{path}{name}"
        else:
            yield from unknown(field, other[name], f"{path}{name}.")


def filled_in(schema: Any, path: str = "") -> Iterator[str]:
    """The fields of a schema that the API server gives a value, as paths."""
    if "default" in schema:
        yield path
    for name, field in (schema.get("properties") or {}).items():
        yield from filled_in(field, f"{path}.{name}")
    if "items" in schema:
        yield from filled_in(schema["items"], f"{path}[]")


def part_of(definition: Object, part: str) -> Any:
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first version's files."""
    return earlier.tree(tmp_path_factory.mktemp("first"))


@pytest.fixture
def pruned(first: Path) -> tuple[str, ...]:
    """What the first version's CRD does not know of a status."""
    paths = tuple(unknown(part_of(crd(), "status"), part_of(crd_of(first), "status")))
    assert "operator" in paths
    return paths


def crd_of(code: Path) -> Object:
    definition: Object = yaml.safe_load((code / earlier.CRD).read_text())
    return definition


@pytest.fixture
async def server():
    server = FakeApiServer()
    await server.start()
    yield server
    await server.close()


class Upgrade:
    """One job of two workers, and the operators that come and go over it."""

    def __init__(self, server: FakeApiServer, first: Path, folder: Path) -> None:
        self._server, self._first, self._folder = server, first, folder
        self._kubeconfig = folder / "kubeconfig"
        self._kubeconfig.write_text(server.kubeconfig())
        self._lives = 0
        self._operator: OperatorProcess | None = None
        self.launchers: list[HonestLauncher] = []
        self.died = 0

    @property
    def status(self) -> Object:
        return dict(self._server.kube.read(JOBS, NAME)["status"])

    def uids(self) -> dict[str, str]:
        """The uids of all that was made for the job."""
        every = (item for resource in CHILDREN for item in self._server.kube.all(resource))
        return {f"{item.get('kind')} {item['metadata']['name']}": item["metadata"]["uid"] for item in every}

    async def train(self, stack: AsyncExitStack, kind: type[HonestLauncher]) -> None:
        """Make the job, and run its pods."""
        client = await stack.enter_async_context(connect(self._kubeconfig))
        policy = {"maxRestarts": MAX_RESTARTS}
        job = await created(client, NAMESPACE, a_job(NAME, len(ADDRESSES), failurePolicy=policy))
        await pods_are(client, job, names_of(NAME, len(ADDRESSES)))
        for index, address in enumerate(ADDRESSES):
            launcher = await stack.enter_async_context(kind(address))
            self.launchers.append(launcher)
            uid = await run_pod(client, NAMESPACE, names.worker_name(NAME, index), address)
            protocol = 0 if kind is EarlierLauncher else STORE_PROTOCOL
            launcher.report = replace(launcher.report, pod_uid=uid, index=index, store_protocol=protocol)
        await run_pod(client, NAMESPACE, names.store_name(NAME), STORE_ADDRESS)
        await phase_is(client, NAMESPACE, NAME, names.Phase.RUNNING)

    async def replace_operator(self, *, earlier: bool) -> None:
        """End the operator that runs, and start one of either version, as CHANGELOG says: one after the other."""
        if (ending := self._operator) is not None:
            # In a thread: it gives back its Lease, and this process serves that.
            assert await asyncio.to_thread(ending.end, signal.SIGTERM) == 0, ending.text()
            ending.__exit__()
        log = self._folder / f"operator-{self._lives}.log"
        self._lives += 1
        more = ("--namespace", NAMESPACE) if earlier else ("--namespace", NAMESPACE, "--lease-name", RELEASE)
        self._operator = OperatorProcess(self._kubeconfig, "", log, *more, code=self._first if earlier else None)
        await self._operator.leads()

    async def lose_a_rank(self) -> None:
        """A rank dies; wait until that is counted and the job trains again."""
        self.launchers[0].kill_rank()
        peer = self.launchers[1]
        peer.report = replace(peer.report, round=peer.report.round + 1)
        self.died += 1

        async def counted() -> bool:
            status = self.status
            return bool(status["restarts"]["counted"] == self.died and status["phase"] == names.Phase.RUNNING)

        await until(counted)

    async def end(self) -> None:
        """All ranks are through, and their launchers leave."""
        for index, launcher in enumerate(self.launchers):
            launcher.report = replace(launcher.report, state=LauncherState.DONE)
            self._server.kube.edit(PODS, names.worker_name(NAME, index), _ended)

        async def succeeded() -> bool:
            return bool(self.status["phase"] == names.Phase.SUCCEEDED)

        await until(succeeded)

    def close(self) -> None:
        if self._operator is not None:
            self._operator.__exit__()


def _ended(pod: Object) -> None:
    pod["status"] |= {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}
    (container,) = pod["status"]["containerStatuses"]
    container |= {"ready": False, "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:10:00Z"}}}


@pytest.fixture
def upgrade(server: FakeApiServer, first: Path, tmp_path: Path) -> Iterator[Upgrade]:
    made = Upgrade(server, first, tmp_path)
    yield made
    made.close()


def test_the_crd_writes_nothing_into_a_spec_that_the_first_version_could_not_read(first: Path) -> None:
    """It refuses unknown fields. The CRD may be there before the new operator, or stay when that one is rolled back."""
    new, old = (set(filled_in(part_of(each, "spec"))) for each in (crd(), crd_of(first)))
    assert new <= old, f"no default for {sorted(new - old)}: say it in the description, and read None as it"


CASES = {
    "the CRD before the operator, earlier launchers": (True, EarlierLauncher),
    "the CRD after the operator, launchers of today": (False, HonestLauncher),
}


@pytest.mark.parametrize("case", CASES)
async def test_both_versions_go_on_with_the_same_pods_and_counts(
    case: str, server: FakeApiServer, upgrade: Upgrade, pruned: tuple[str, ...]
) -> None:
    crd_comes_first, launcher = CASES[case]
    async with AsyncExitStack() as stack:
        server.kube.prunes = pruned
        await upgrade.replace_operator(earlier=True)
        await upgrade.train(stack, launcher)
        await upgrade.lose_a_rank()
        made, incarnation = upgrade.uids(), upgrade.status["incarnation"]

        if crd_comes_first:
            server.kube.prunes = ()
            await upgrade.lose_a_rank()
        await upgrade.replace_operator(earlier=False)
        await upgrade.lose_a_rank()
        server.kube.prunes = ()
        await upgrade.lose_a_rank()
        assert upgrade.status["operator"] == f"{NAMESPACE}/{RELEASE}"

        await upgrade.replace_operator(earlier=True)
        await upgrade.lose_a_rank()
        await upgrade.replace_operator(earlier=False)
        await upgrade.lose_a_rank()

        assert upgrade.uids() == made, "nothing was remade"
        assert upgrade.status["incarnation"] == incarnation
        restarts = {key: value for key, value in upgrade.status["restarts"].items() if value}
        assert (restarts["counted"], restarts.get("excused", 0)) == (upgrade.died, 0)
        assert restarts["byCause"] == {"ProcessSignal": upgrade.died}
        assert not [call for call in server.kube.calls if call.verb == "delete"]
        await upgrade.end()
        assert upgrade.status["restarts"]["counted"] == upgrade.died
