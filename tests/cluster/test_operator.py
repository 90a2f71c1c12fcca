"""The operator as a process on a real API server: hard ends, leadership, suspension, conflicts."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import pytest
from operator_process import (
    a_job,
    created,
    edit,
    everything,
    names_of,
    phase_is,
    pods_are,
    pods_of,
    until,
)

from dtj_api import names
from dtj_operator.kube import errors
from dtj_operator.kube.resources import EVENTS, JOBS, LEASES

pytestmark = pytest.mark.cluster


def uids(pods):
    return {name: pod["metadata"]["uid"] for name, pod in pods.items()}


async def test_killed_while_it_creates_64_workers_it_goes_on_where_it_was(client, namespace, start):
    first = start("--no-leader-election")
    await first.ready()
    job = await created(client, namespace, a_job("big", 64))

    async def some():
        pods = await pods_of(client, job)
        return pods if len(pods) >= 5 else None

    await until(some, pause=0.0)
    first.end(signal.SIGKILL)
    before = uids(await pods_of(client, job))
    assert len(before) < 65, "the kill came in the midst"
    start("--no-leader-election")
    after = uids(await pods_are(client, job, names_of("big", 64)))
    assert {name: after[name] for name in before} == before
    events = await everything(client, EVENTS, namespace)
    assert not [event for event in events if event["reason"] == names.Reason.NAME_TAKEN]
    status = (await client.get(JOBS, namespace, "big"))["status"]
    assert (status["incarnation"], status["restarts"]["counted"], status["restarts"]["excused"]) == (1, 0, 0)


async def test_an_upgrade_leaves_pods_alone(client, namespace, start):
    first = start()
    await first.leads()
    job = await created(client, namespace, a_job("ner", 3))
    before = uids(await pods_are(client, job, names_of("ner", 3)))
    assert first.end(signal.SIGTERM) == 0
    second = start()
    await second.leads()
    marker = await created(client, namespace, a_job("after", 1))
    await pods_are(client, marker, names_of("after", 1))
    assert uids(await pods_of(client, job)) == before


async def test_of_two_operators_one_leads_and_the_other_takes_over(client, namespace, start):
    first = start()
    await first.leads()
    second = start()
    await second.ready()
    job = await created(client, namespace, a_job("one", 2))
    await pods_are(client, job, names_of("one", 2))
    assert "leading as" not in second.text()
    assert 'leader_election_master_status{name="dtj-operator"} 1.0' in await first.metrics()
    assert 'leader_election_master_status{name="dtj-operator"} 0.0' in await second.metrics()
    assert 'job="one"' in await first.metrics()
    assert 'job="one"' not in await second.metrics(), "a standby would double every sum"
    assert first.end(signal.SIGTERM) == 0
    await second.leads()
    (lease,) = await everything(client, LEASES, namespace)
    assert lease["spec"]["leaseTransitions"] >= 1
    job = await created(client, namespace, a_job("two", 2))
    await pods_are(client, job, names_of("two", 2))


async def test_a_leader_that_was_paused_stands_by_and_writes_nothing(client, namespace, start):
    first = start()
    await first.leads()
    second = start()
    first.process.send_signal(signal.SIGSTOP)
    await second.leads()
    first.process.send_signal(signal.SIGCONT)
    await first.says("leadership lost")
    await first.ready()
    (lease,) = await everything(client, LEASES, namespace)
    assert lease["spec"]["holderIdentity"] in second.text()
    assert second.end(signal.SIGTERM) == 0
    await first.leads(times=2)
    job = await created(client, namespace, a_job("after", 1))
    await pods_are(client, job, names_of("after", 1))


async def test_suspend_deletes_the_pods_and_resume_makes_them_anew(client, namespace, start):
    operator = start()
    await operator.leads()
    job = await created(client, namespace, a_job("ner", 2))
    before = uids(await pods_are(client, job, names_of("ner", 2)))

    async def set_suspend(value: bool):
        await edit(client, JOBS, namespace, "ner", lambda item: item["spec"].update(suspend=value))

    await set_suspend(True)
    await pods_are(client, job, set())
    await phase_is(client, namespace, "ner", "Suspended")
    await set_suspend(False)
    after = uids(await pods_are(client, job, names_of("ner", 2)))
    assert not set(before.values()) & set(after.values())


async def test_a_status_that_somebody_else_writes_meanwhile_is_planned_again(client, namespace, start):
    """Another writer bumps the resourceVersion all the time; spec edits in between are not overwritten."""
    operator = start()
    await operator.leads()
    job = await created(client, namespace, a_job("ner", 4))
    stop = asyncio.Event()

    async def disturb():
        count = 0
        while not stop.is_set():
            item = await client.get(JOBS, namespace, "ner")
            item["metadata"].setdefault("labels", {})["disturbed"] = str(count)
            count += 1
            with contextlib.suppress(errors.Conflict):
                await client.replace(JOBS, namespace, "ner", item)
        return count

    disturber = asyncio.create_task(disturb())
    await pods_are(client, job, names_of("ner", 4))
    stop.set()
    assert await disturber > 0
    stored = await phase_is(client, namespace, "ner", "Pending")
    assert "disturbed" in stored["metadata"]["labels"]
    assert stored["status"]["restarts"]["counted"] == 0
