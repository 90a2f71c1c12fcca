"""The API server goes away and comes back: no process ends, nothing is written meanwhile, and then work goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from fake_apiserver import FakeApiServer, Start, a_fake_cluster, pods_are_there, put_job
from operator_process import until

from dtj_api import names
from dtj_operator.kube.resources import JOBS, LEASES, NETWORK_POLICIES, NODES, PODS, SERVICES

BACK_SECONDS = 25.0
"""Most seconds from the return of the API server to the first reconcile."""
EVERYTHING = {each.plural for each in (JOBS, PODS, NODES, SERVICES, NETWORK_POLICIES)}
"""What a plan is made on."""


async def test_a_server_that_is_not_there_at_the_start_is_waited_for(server, start):
    await server.close()
    operator = start()
    await operator.says("cannot be reached")
    assert (await operator.health("/healthz"))[0] == 200
    code, why = await operator.health("/readyz")
    assert code == 503
    assert "API server" in why
    await server.start()
    await operator.leads()
    put_job(server, "ner")
    await pods_are_there(server, 3)


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [(401, "Unauthorized", "renew them"), (403, "Forbidden", "bind the chart's role"), (404, "NotFound", "the CRD")],
)
async def test_a_server_that_refuses_us_at_the_start_ends_it_with_words(server, start, code, reason, says):
    server.script = lambda request: (code, {"kind": "Status", "reason": reason, "message": "no"}, {})
    operator = start()
    assert await asyncio.to_thread(operator.process.wait, 60) == 1
    assert says in operator.text()
    assert "Traceback" not in operator.text()


def listed_by_the_leader(server: FakeApiServer, asked: int) -> set[str]:
    """What was listed between the moment when the lease was won and the first pod, of what was asked since then.

    Args:
        asked: requests before that.
    """
    after = [each for each in server.requests[asked:] if each.headers["User-Agent"] == names.MANAGED_BY]
    taken = next(i for i, each in enumerate(after) if each.method == "PUT" and "/leases/" in each.path)
    written = next(i for i, each in enumerate(after) if each.method == "POST" and each.path.endswith("/pods"))
    lists = [each for each in after[taken:written] if each.method == "GET" and "watch" not in each.query]
    return {each.path.rsplit("/", 1)[1] for each in lists}


async def outage(server: FakeApiServer, start: Start, *, replicas: int, seconds: float, kind: str) -> float:
    """Seconds from the server's return to the first pod of a job that was made meanwhile."""
    operators = [start()]
    await operators[0].leads()
    for _ in range(replicas - 1):
        operators.append(start())
        await operators[-1].ready()
    put_job(server, "before")
    await pods_are_there(server, 3)
    if kind == "refused":
        await server.close()
    server.silent = kind == "silent"
    written = len(server.kube.writes())
    await asyncio.sleep(seconds)
    assert len(server.kube.writes()) == written
    assert [each.process.poll() for each in operators] == [None] * replicas
    put_job(server, "meanwhile")
    if kind == "silent":
        await server.close()
        server.silent = False
    asked = len(server.requests)
    await server.start()
    back = time.monotonic()
    await pods_are_there(server, 6)
    took = time.monotonic() - back
    assert listed_by_the_leader(server, asked) >= EVERYTHING
    assert [each.process.poll() for each in operators] == [None] * replicas, "none has ended"
    # On a busy machine a term may end early; it is the same process that stands again.
    assert sum(each.text().count("leading as") for each in operators) >= 2
    assert server.kube.read(LEASES, "dtj-operator")["spec"]["holderIdentity"]
    return took


OUTAGES = [(1, "refused"), (1, "silent"), (2, "refused"), (2, "silent")]
Outage = tuple[int, str]


async def all_kinds(folder: Path, seconds: float) -> dict[Outage, float]:
    """All outages at once, each on a cluster of its own: what takes long is to wait. See `outage` for the figures."""

    async def one(replicas: int, kind: str) -> float:
        own = folder / f"{replicas}-{kind}"
        own.mkdir()
        try:
            async with a_fake_cluster(own) as (server, start):
                return await outage(server, start, replicas=replicas, seconds=seconds, kind=kind)
        except BaseException as error:
            said = "\n".join(log.read_text()[-4000:] for log in sorted(own.glob("log-*")))
            error.add_note(f"{replicas} replicas, {kind}; the operators said last:\n{said}")
            raise

    async with asyncio.TaskGroup() as group:
        begun = {each: group.create_task(one(*each)) for each in OUTAGES}
    return {each: task.result() for each, task in begun.items()}


async def test_an_outage_longer_than_the_lease_ends_no_process(tmp_path):
    await all_kinds(tmp_path, 16.0)


@pytest.mark.soak
@pytest.mark.timeout(1500)
async def test_ten_minutes_without_the_server_cost_no_restart_and_less_than_half_a_minute(tmp_path):
    took = await all_kinds(tmp_path, 600.0)
    for (replicas, kind), seconds in took.items():
        print(f"{replicas} replicas, {kind} for 10 min: first pods {seconds:.1f} s after it was back, no process ended")
    assert max(took.values()) <= BACK_SECONDS


async def test_a_leader_that_was_paused_stands_by_and_stands_again(server, start):
    operator = start()
    await operator.leads()
    os.kill(operator.process.pid, signal.SIGSTOP)
    server.kube.edit(LEASES, "dtj-operator", lambda item: item["spec"].update(holderIdentity="another"))
    os.kill(operator.process.pid, signal.SIGCONT)
    await operator.says("leadership lost")
    assert 'leader_election_master_status{name="dtj-operator"} 0.0' in await operator.metrics()
    written = len(server.kube.writes())
    put_job(server, "ner")

    async def known() -> bool:
        return 'dtj_operator_watch_events_total{kind="DistributedTrainingJob"}' in await operator.metrics()

    await until(known)
    assert len(server.kube.writes()) == written, "a standby writes nothing"
    server.kube.edit(LEASES, "dtj-operator", lambda item: item["spec"].update(holderIdentity=""))
    await operator.leads(times=2)
    await pods_are_there(server, 3)
    assert operator.process.poll() is None


async def test_a_leader_plans_on_lists_made_after_it_won_the_lease(server, start):
    """What the other one did in its last moments may not have reached the watches of who stands by."""
    first = start()
    await first.leads()
    put_job(server, "ner")
    await pods_are_there(server, 3)
    second = start()
    await second.ready()
    asked = len(server.requests)
    first.process.send_signal(signal.SIGTERM)
    await second.leads()
    put_job(server, "after")
    await pods_are_there(server, 6)
    assert listed_by_the_leader(server, asked) >= EVERYTHING
