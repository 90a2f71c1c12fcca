"""The operator as a process on a real API server: children, deletion, hard ends, leadership, suspension, conflicts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from pathlib import Path

import pytest
from operator_process import (
    OperatorProcess,
    a_job,
    children,
    connect,
    everything,
    install_crd,
    make_namespace,
    names_of,
    pods_of,
    until,
)

from dtj_api import names
from dtj_operator.kube import errors
from dtj_operator.kube.resources import EVENTS, JOBS, LEASES, NETWORK_POLICIES, NODES, PODS, SECRETS, SERVICES

pytestmark = pytest.mark.cluster
NUMBERS = itertools.count()


@pytest.fixture
async def client(control_plane: Path):
    async with connect(control_plane) as client:
        await install_crd(client)
        yield client


@pytest.fixture
async def namespace(client, request):
    name = f"operator-{next(NUMBERS)}"
    await make_namespace(client, name)
    return name


@pytest.fixture
def start(control_plane: Path, namespace, tmp_path):
    """Starts operators for the test's namespace; all are gone afterwards."""
    started: list[OperatorProcess] = []

    def begin(*args: str) -> OperatorProcess:
        operator = OperatorProcess(control_plane, namespace, tmp_path / f"operator-{len(started)}.log", *args)
        started.append(operator)
        return operator

    yield begin
    for operator in started:
        operator.__exit__()


async def created(client, namespace, job):
    return await client.create(JOBS, namespace, job)


async def pods_are(client, job, wanted: set[str]):
    async def complete():
        found = await pods_of(client, job)
        return [found] if set(found) == wanted else None

    (pods,) = await until(complete)
    return pods


async def child_is(client, resource, job, name):
    """Wait until this is the only object of the resource that the job controls, and give it."""

    async def there():
        found = await children(client, resource, job)
        return found[name] if set(found) == {name} else None

    return await until(there)


async def phase_is(client, namespace, name, phase):
    async def there():
        job = await client.get(JOBS, namespace, name)
        return job if (job.get("status") or {}).get("phase") == phase else None

    return await until(there)


def uids(pods):
    return {name: pod["metadata"]["uid"] for name, pod in pods.items()}


async def test_a_job_gets_its_children_and_deleting_it_deletes_them(client, namespace, start):
    operator = start()
    await operator.leads()
    job = await created(client, namespace, a_job("ner", 3))
    pods = await pods_are(client, job, names_of("ner", 3))
    for pod in pods.values():
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == (names.KIND, job["metadata"]["uid"], True)
    for resource, name in (
        (SERVICES, names.service_name("ner")),
        (NETWORK_POLICIES, names.policy_name("ner")),
        (SECRETS, names.key_name("ner")),
    ):
        await child_is(client, resource, job, name)
    stored = await phase_is(client, namespace, "ner", "Pending")
    assert "finalizers" not in stored["metadata"], "deletion must work while the operator is away"
    assert "annotations" not in stored["metadata"], "no state in annotations"

    await client.delete(JOBS, namespace, "ner", uid=job["metadata"]["uid"])

    async def all_gone():
        kinds = (PODS, SERVICES, NETWORK_POLICIES, SECRETS)
        return not any([await children(client, resource, job) for resource in kinds])

    await until(all_gone)
    assert 'job="ner"' not in await operator.metrics(), "the job's series are gone with it"


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


async def test_a_leader_that_was_paused_ends_and_writes_nothing(client, namespace, start):
    first = start()
    await first.leads()
    second = start()
    first.process.send_signal(signal.SIGSTOP)
    await second.leads()
    first.process.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(first.process.wait, 30) == 1
    assert "leadership lost" in first.text()
    (lease,) = await everything(client, LEASES, namespace)
    assert lease["spec"]["holderIdentity"] in second.text()


async def test_suspend_deletes_the_pods_and_resume_makes_them_anew(client, namespace, start):
    operator = start()
    await operator.leads()
    job = await created(client, namespace, a_job("ner", 2))
    before = uids(await pods_are(client, job, names_of("ner", 2)))

    async def set_suspend(value: bool):
        item = await client.get(JOBS, namespace, "ner")
        item["spec"]["suspend"] = value
        await client.replace(JOBS, namespace, "ner", item)

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


async def test_a_name_that_somebody_else_has_is_said_and_left_alone(client, namespace, start):
    operator = start()
    await operator.leads()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": names.worker_name("ner", 0)},
        "spec": {"containers": [{"name": "other", "image": "example.com/other"}]},
    }
    foreign = await client.create(PODS, namespace, pod)
    await created(client, namespace, a_job("ner", 2))

    async def said():
        job = await client.get(JOBS, namespace, "ner")
        conditions = (job.get("status") or {}).get("conditions") or []
        return any(each["reason"] == names.Reason.NAME_TAKEN for each in conditions)

    await until(said)
    assert (await client.get(PODS, namespace, pod["metadata"]["name"]))["metadata"]["uid"] == foreign["metadata"]["uid"]


async def test_a_service_that_somebody_deleted_is_made_anew(client, namespace, start):
    operator = start()
    await operator.leads()
    job = await created(client, namespace, a_job("ner", 1))
    await pods_are(client, job, names_of("ner", 1))
    name = names.service_name("ner")
    first = await child_is(client, SERVICES, job, name)
    await client.delete(SERVICES, namespace, name, uid=first["metadata"]["uid"])

    async def again():
        found = await children(client, SERVICES, job)
        return name in found and found[name]["metadata"]["uid"] != first["metadata"]["uid"]

    await until(again)


async def test_a_job_made_anew_under_the_same_name_takes_over_no_pod_of_the_old_one(client, namespace, start):
    operator = start("--no-leader-election")
    await operator.ready()
    old = await created(client, namespace, a_job("ner", 8))

    async def some():
        return await pods_of(client, old)

    await until(some)
    await client.delete(JOBS, namespace, "ner", uid=old["metadata"]["uid"])
    new = await created(client, namespace, a_job("ner", 8))

    pods = await pods_are(client, new, names_of("ner", 8))

    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods.values()} == {new["metadata"]["uid"]}
    assert not await pods_of(client, old)
    stored = await client.get(JOBS, namespace, "ner")
    assert not stored["status"].get("restarts", {}).get("byCause"), "the end of the old pods is nobody's loss"


async def test_a_claim_that_is_missing_is_said_in_the_schedulers_words_and_charged_to_nobody(client, namespace, start):
    ready = {"type": "Ready", "status": "True", "reason": "Test"}
    room = {"cpu": "64", "memory": "64Gi", "pods": "100"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "roomy"}}
    status = {"conditions": [ready], "capacity": room, "allocatable": room}
    stored = await client.create(NODES, None, node)
    await client.replace(NODES, None, "roomy", {**stored, "status": status}, subresource="status")
    start("--no-leader-election")
    await created(client, namespace, a_job("ner", 2, checkpoint={"volume": {"claimName": "nobodys"}}))

    async def said():
        job = await client.get(JOBS, namespace, "ner")
        conditions = (job.get("status") or {}).get("conditions") or []
        progressing = next((each for each in conditions if each["type"] == names.Condition.PROGRESSING), {})
        text = progressing.get("message", "")
        return job if progressing.get("reason") == "Unschedulable" and '"nobodys" not found' in text else None

    job = await until(said)
    assert not job["status"].get("restarts", {}).get("byCause")
