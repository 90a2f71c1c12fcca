"""The traps of kopf that would break this operator, each held shut. Those of its index: observe/test_reflector.py."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import kopf
import pytest
from fake_apiserver import pods_are_there, put_job
from operator_process import OperatorProcess, until

from dtj_api import names
from dtj_operator import kopf_watch
from dtj_operator.kube.resources import LEASES, PODS


async def nothing() -> Any:
    raise AssertionError("not asked")


def registry(heard=lambda kind, job: None) -> kopf.OperatorRegistry:
    return kopf_watch.registry(kopf_watch.Handlers(nothing, heard, nothing))


async def ended(operator: OperatorProcess) -> int:
    return await asyncio.to_thread(operator.process.wait, 60)


def test_no_index_and_no_worker_limit():
    """Together they never start; an index alone starts in quadratic time and keeps what vanished; a limit throttles."""
    assert not registry()._indexing.get_all_handlers()
    assert kopf_watch.settings().queueing.worker_limit is None


def test_no_handler_that_writes():
    """Handlers of changes, daemons and timers store annotations and finalizers on what they watch."""
    chosen = registry()
    assert not chosen._changing.get_all_handlers()
    assert not chosen._spawning.get_all_handlers()
    watched = [str(each.selector.any_name or each.selector.plural) for each in chosen._watching.get_all_handlers()]
    assert watched == [names.PLURAL]


def test_no_peering_no_scanning_no_posting():
    """Peering pauses both of two equals; scanning adds two streams whose errors end the process."""
    chosen = kopf_watch.settings()
    assert chosen.peering.standalone
    assert chosen.scanning.disabled
    assert not chosen.posting.enabled


def test_importing_registers_nothing_globally():
    assert not kopf.get_default_registry()._watching.get_all_handlers()


async def test_the_handler_only_hands_on_what_it_hears_so_its_errors_are_ours():
    """Errors in `on.event` are swallowed by kopf and never retried."""
    heard = []
    (handler,) = registry(lambda *change: heard.append(change))._watching.get_all_handlers()
    await handler.fn(event={"type": "ADDED", "object": {"metadata": {"name": "job"}}})
    assert heard == [("ADDED", {"metadata": {"name": "job"}})]


async def test_the_last_resort_of_kopf_kills_no_process_of_ours():
    assert kopf_watch.settings().process.ultimate_exiting_timeout is None


async def test_its_end_is_waited_for_and_no_longer(monkeypatch):
    monkeypatch.setattr(kopf_watch, "STOP_SECONDS", 3600.0)
    runs, ended = threading.Event(), threading.Event()

    async def operator(*, stop_flag: asyncio.Event, **_: Any) -> None:
        runs.set()
        await stop_flag.wait()
        ended.set()

    monkeypatch.setattr(kopf, "operator", operator)
    ear = kopf_watch.Ear(
        cast(Any, None),
        namespaces=(),
        identity="me",
        heard=lambda *_: None,
        figures=dict,
        restarted=lambda reason: None,
    )
    task = asyncio.create_task(ear.run())
    await asyncio.to_thread(runs.wait, 30)
    task.cancel()
    async with asyncio.timeout(30):
        await asyncio.gather(task, return_exceptions=True)
    assert ended.is_set()


async def test_a_whole_job_costs_no_write_but_our_own(server, start):
    operator = start("--no-leader-election")
    await operator.ready()
    put_job(server, "ner")
    await pods_are_there(server, 3)
    writes = [request for request in server.requests if request.method not in ("GET",)]
    assert {request.method for request in writes} <= {"POST", "PUT"}, "kopf would PATCH"
    assert all(request.headers["User-Agent"] == names.MANAGED_BY for request in writes)
    assert not any("kopfpeerings" in request.path or "namespaces?" in request.path for request in server.requests)


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


def test_no_job_is_copied_for_differences_that_no_handler_asks_for():
    class Uncopied(dict):
        def __deepcopy__(self, memo):
            raise AssertionError("it is copied")

    body = kopf.Body({"metadata": {}, "spec": Uncopied(), "status": Uncopied()})
    storages = [kopf.AnnotationsDiffBaseStorage(), kopf_watch.settings().persistence.diffbase_storage]
    with pytest.raises(AssertionError, match="it is copied"):
        storages[0].build(body=body)
    assert storages[1].build(body=body) == {}
