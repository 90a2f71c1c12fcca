"""The traps of kopf that would break this operator, each held shut. Those of its index: observe/test_reflector.py."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import kopf
import pytest
from fake_apiserver import FakeApiServer
from operator_process import OperatorProcess, a_job, until

from dtj_api import names
from dtj_operator import kopf_watch
from dtj_operator.kube.credentials import Credentials
from dtj_operator.kube.resources import JOBS, LEASES, PODS


def credentials() -> Credentials:
    return Credentials(server="http://127.0.0.1:1", tls=None)


@pytest.fixture
async def server():
    server = FakeApiServer()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
def start(server, tmp_path):
    started = []

    def begin(*args: str) -> OperatorProcess:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(server.kubeconfig())
        operator = OperatorProcess(kubeconfig, "default", tmp_path / f"log-{len(started)}", *args)
        started.append(operator)
        return operator

    yield begin
    for operator in started:
        operator.__exit__()


async def ended(operator: OperatorProcess) -> int:
    return await asyncio.to_thread(operator.process.wait, 60)


def put_job(server: FakeApiServer, name: str, workers: int = 2) -> None:
    job = a_job(name, workers)
    job["metadata"]["namespace"] = "default"
    server.kube.put(JOBS, job)


async def pods_are_there(server: FakeApiServer, count: int) -> None:
    async def there() -> bool:
        return len(server.kube.all(PODS)) == count

    await until(there)


def test_no_index_and_no_worker_limit():
    """Together they never start; an index alone starts in quadratic time and keeps what vanished; a limit throttles."""
    registry = kopf_watch.registry(credentials(), lambda key: None)
    assert not registry._indexing.get_all_handlers()
    assert kopf_watch.settings().queueing.worker_limit is None


def test_no_handler_that_writes():
    """Handlers of changes, daemons and timers store annotations and finalizers on what they watch."""
    registry = kopf_watch.registry(credentials(), lambda key: None)
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert [str(each.selector.any_name or each.selector.plural) for each in registry._watching.get_all_handlers()] == [
        names.PLURAL
    ]


def test_no_peering_no_scanning_no_posting():
    """Peering pauses both of two equals; scanning adds two streams whose errors end the process."""
    chosen = kopf_watch.settings()
    assert chosen.peering.standalone
    assert chosen.scanning.disabled
    assert not chosen.posting.enabled


def test_importing_registers_nothing_globally():
    assert not kopf.get_default_registry()._watching.get_all_handlers()


async def test_handlers_only_name_the_job_so_their_errors_are_ours():
    """Errors in `on.event` are swallowed by kopf and never retried."""
    woken = []
    registry = kopf_watch.registry(credentials(), woken.append)
    (handler,) = registry._watching.get_all_handlers()
    await handler.fn(namespace="ns", name="job", body={}, event={})
    assert woken == [("ns", "job")]


async def test_a_whole_job_costs_no_write_but_our_own(server, start):
    operator = start("--no-leader-election")
    await operator.ready()
    put_job(server, "ner")
    await pods_are_there(server, 3)
    writes = [request for request in server.requests if request.method not in ("GET",)]
    assert {request.method for request in writes} <= {"POST", "PUT"}, "kopf would PATCH"
    assert all(request.headers["User-Agent"] == names.MANAGED_BY for request in writes)
    assert not any("kopfpeerings" in request.path or "namespaces?" in request.path for request in server.requests)


async def test_an_error_event_on_kopfs_watch_ends_the_process_with_an_error(server, start):
    """Crash-only: starting anew is cheap, living on without the watch is not noticed."""
    operator = start("--no-leader-election")
    await operator.ready()
    put_job(server, "ner")
    await pods_are_there(server, 3)

    async def kopf_watches() -> bool:
        return any("kopf" in request.headers["User-Agent"] and "watch" in request.query for request in server.requests)

    await until(kopf_watches)
    server.send_to_watches(
        {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcdserver: leader changed"}}
    )
    assert await ended(operator) == 1
    assert "kopf ended" in operator.text()


async def test_a_sigterm_lets_what_is_in_flight_finish(server, start):
    """kopf cancels handlers after two seconds; ours are not its handlers, and it is stopped last."""
    operator = start("--no-leader-election")
    await operator.ready()
    gate = asyncio.Event()
    seen = asyncio.Event()
    create = server.kube.create

    async def slow(resource, namespace, body, **more):
        if resource == PODS and not more.get("dry_run"):
            seen.set()
            await gate.wait()
        return await create(resource, namespace, body, **more)

    server.kube.create = slow
    put_job(server, "ner")
    await asyncio.wait_for(seen.wait(), 60)
    operator.process.send_signal(signal.SIGTERM)

    async def stopping() -> bool:
        return "stopping; 1 reconciles in flight" in operator.text()

    await until(stopping)
    gate.set()
    assert await ended(operator) == 0
    assert len(server.kube.all(PODS)) == 3


async def test_a_leader_that_ends_in_order_gives_the_lease_back(server, start):
    operator = start()
    await operator.leads()
    operator.process.send_signal(signal.SIGTERM)
    assert await ended(operator) == 0
    assert server.kube.read(LEASES, "dtj-operator")["spec"]["holderIdentity"] == ""


async def test_a_leader_that_was_stopped_for_long_ends_at_once(server, start):
    operator = start()
    await operator.leads()
    os.kill(operator.process.pid, signal.SIGSTOP)
    server.kube.edit(LEASES, "dtj-operator", lambda item: item["spec"].update(holderIdentity="another"))
    os.kill(operator.process.pid, signal.SIGCONT)
    assert await ended(operator) == 1
    assert "leadership lost" in operator.text()


def test_the_command_line_needs_no_cluster_to_say_what_is_wrong(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "dtj_operator", "run", "--kubeconfig", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no such file" in done.stderr
    assert "Traceback" not in done.stderr
