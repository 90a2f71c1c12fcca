"""What a job owns: made under its names, deleted with it, and nobody else's taken over."""

from __future__ import annotations

from dataclasses import replace

import plan_jobs
import pytest
from operator_process import a_job, child_is, children, created, edit, names_of, phase_is, pods_are, pods_of, until

from dtj_api import names
from dtj_operator.kube.resources import JOBS, NETWORK_POLICIES, NODES, PODS, SECRETS, SERVICES
from dtj_operator.observe.records import digest
from dtj_operator.render.children import service

pytestmark = pytest.mark.cluster


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
    view = replace(plan_jobs.a_job().view(), name="ner", namespace=namespace, uid=job["metadata"]["uid"])
    made = await child_is(client, SERVICES, job, names.service_name("ner"))
    assert digest(SERVICES, made) == digest(SERVICES, service(view)), "what the server adds by itself is no edit"
    stored = await phase_is(client, namespace, "ner", "Pending")
    assert "finalizers" not in stored["metadata"], "deletion must work while the operator is away"
    assert "annotations" not in stored["metadata"], "no state in annotations"

    await client.delete(JOBS, namespace, "ner", uid=job["metadata"]["uid"])

    async def all_gone():
        kinds = (PODS, SERVICES, NETWORK_POLICIES, SECRETS)
        return not any([await children(client, resource, job) for resource in kinds])

    await until(all_gone)
    assert 'job="ner"' not in await operator.metrics(), "the job's series are gone with it"


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


@pytest.fixture
async def node(client):
    """A node that pods fit on and nobody runs. It goes with the test: others' pods that were bound to it would stay."""
    ready = {"type": "Ready", "status": "True", "reason": "Test"}
    room = {"cpu": "64", "memory": "64Gi", "pods": "100"}
    status = {"conditions": [ready], "capacity": room, "allocatable": room}
    made = await client.create(NODES, None, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "roomy"}})
    await edit(client, NODES, None, "roomy", lambda item: item.update(status=status), "status")
    yield
    await client.delete(NODES, None, "roomy", uid=made["metadata"]["uid"])


@pytest.mark.usefixtures("node")
async def test_a_claim_that_is_missing_is_said_in_the_schedulers_words_and_charged_to_nobody(client, namespace, start):
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
