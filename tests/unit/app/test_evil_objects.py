"""One tenant's worst objects, to the process itself: it says what is wrong with each, and serves the others."""

from __future__ import annotations

import re

import pytest
from fake_apiserver import FakeApiServer, fail_pod
from operator_process import OperatorProcess, a_job, until

from dtj_api import names
from dtj_operator.kube.resources import JOBS, PODS

WORKER = names.worker_name("honest", 0)
EVIL = {
    "deep": ('{"a":' * 9000 + "1" + "}" * 9000, "900[0-9] levels .* more than the 64 that are read"),
    "deep-and-open": ("[" * 700 + "]" * 700, "70[0-9] levels .* more than the 64 that are read"),
    "large": ("[" + ",".join(["{}"] * 460_000) + "]", "13[0-9]{5} bytes of JSON, more than the 131072 that are read"),
    "large-and-deep": ("[" * 5000 + ",".join(["{}"] * 300_000) + "]" * 5000, "9[0-9]{5} bytes of JSON"),
    "text": ('"' + "x" * 1_400_000 + '"', "14[0-9]{5} bytes of JSON"),
}


@pytest.fixture
async def server():
    server = FakeApiServer()
    server.on_the_wire = {f"@{name}": value for name, (value, _) in EVIL.items()}
    await server.start()
    yield server
    await server.close()


def put_job(server: FakeApiServer, name: str, affinity: str = "") -> None:
    job = a_job(name, 1)
    job["metadata"]["namespace"] = "default"
    if affinity:
        job["spec"]["workers"]["template"]["spec"]["affinity"] = affinity
    server.kube.put(JOBS, job)


def put_evil(server: FakeApiServer, copy: int) -> None:
    for name in EVIL:
        put_job(server, f"{name}-{copy}", f"@{name}")


async def all_are_told(server: FakeApiServer, copy: int) -> None:
    async def told() -> bool:
        return all("conditions" in server.kube.read(JOBS, f"{name}-{copy}").get("status", {}) for name in EVIL)

    await until(told)
    for name, (_, words) in EVIL.items():
        (condition,) = server.kube.read(JOBS, f"{name}-{copy}")["status"]["conditions"]
        assert (condition["type"], condition["status"]) == (names.Condition.ADMITTED, "False")
        assert re.search(words, condition["message"]), condition["message"]


async def pods_of(server: FakeApiServer, name: str) -> None:
    async def there() -> bool:
        return sum(each["metadata"]["name"].startswith(name) for each in server.kube.all(PODS)) == 2

    await until(there)


async def test_no_object_ends_it_at_its_start_nor_later_and_each_is_answered(server, tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(server.kubeconfig())
    put_evil(server, 1)
    put_job(server, "honest")
    with OperatorProcess(kubeconfig, "default", tmp_path / "log", "--no-leader-election") as operator:
        await operator.ready()
        await pods_of(server, "honest")
        await all_are_told(server, 1)
        put_evil(server, 2)
        put_job(server, "later")
        await all_are_told(server, 2)
        await pods_of(server, "later")
        for number in range(3, 8):
            put_evil(server, number)
        await all_are_told(server, 7)
        await until(fail_pod(server, WORKER))
        assert operator.process.poll() is None
        assert 'source="kopf"' not in await operator.metrics(), "kopf's own watch bears them too"
        assert "Traceback" not in operator.text()
        assert operator.peak_memory() < 300 * 2**20
