"""What a namespace demands of every pod holds for those that the operator adds too, and is said where it cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from operator_process import a_job, created, names_of, pods_are, pods_of, until

from dtj_api import names
from dtj_operator.kube.client import HttpKubeClient, Object
from dtj_operator.kube.resources import JOBS, SECRETS, Resource

pytestmark = pytest.mark.cluster
QUOTAS = Resource("", "v1", "ResourceQuota", "resourcequotas")
RANGES = Resource("", "v1", "LimitRange", "limitranges")
ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts")
FOREIGN = ("--no-leader-election", "--launcher-image", "example.com/dtj-operator:1")
AMOUNTS = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}
QUOTA = {"requests.cpu": "2", "requests.memory": "6Gi", "limits.cpu": "4", "limits.memory": "8Gi"}
RATIO = {"type": "Container", "min": {"memory": "64Mi", "cpu": "20m"}, "maxLimitRequestRatio": {"memory": "2"}}


def an_object(resource: Resource, name: str, **fields: Any) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, **fields}


def a_limited_job(name: str, **pod: Any) -> Object:
    job = a_job(name, 2)
    job["spec"]["workers"]["template"]["spec"] |= pod
    job["spec"]["workers"]["template"]["spec"]["containers"][0]["resources"] = AMOUNTS
    return job


RULES = {"quota": (QUOTAS, {"hard": QUOTA}), "limit range": (RANGES, {"limits": [RATIO]})}


@pytest.mark.parametrize(("resource", "spec"), RULES.values(), ids=RULES)
async def test_a_job_whose_containers_meet_the_rule_gets_all_its_pods(client, namespace, start, resource, spec):
    await client.create(resource, namespace, an_object(resource, "team", spec=spec))
    start(*FOREIGN)
    job = await created(client, namespace, a_limited_job("ner"))
    pods = await pods_are(client, job, names_of("ner", 2))
    store = pods.pop(names.store_name("ner"))
    assert store["spec"]["containers"][0]["image"] == FOREIGN[-1]
    assert all(pod["spec"]["initContainers"] for pod in pods.values()), "of a foreign image"


LARGE = an_object(RANGES, "large", spec={"limits": [{"type": "Container", "min": {"memory": "256Mi"}}]})
NO_CPU_LIMIT = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}


async def refusal(client: HttpKubeClient, job: Object) -> str:
    """Why no pod of the job is made, while one that has what the message asks for gets all of its own."""
    namespace = job["metadata"]["namespace"]

    async def said() -> str:
        found = await client.get(JOBS, namespace, job["metadata"]["name"])
        conditions = (found.get("status") or {}).get("conditions") or []
        said = {each["type"]: each for each in conditions}.get(names.Condition.ADMITTED)
        return str(said["message"]) if said and said["status"] == "False" else ""

    message = str(await until(said))
    given = a_limited_job("mended")
    given["spec"] |= {"launcher": {"resources": AMOUNTS}, "rendezvous": {"resources": AMOUNTS}}
    await pods_are(client, await created(client, namespace, given), names_of("mended", 2))
    assert await pods_of(client, job) == {}, "workers would hold the quota and wait"
    return message


async def test_a_store_that_is_refused_is_named_with_the_field_to_change(client, namespace, start):
    await client.create(RANGES, namespace, LARGE)
    start(*FOREIGN)
    job = a_limited_job("ner")
    job["spec"]["launcher"] = {"resources": AMOUNTS}
    message = await refusal(client, await created(client, namespace, job))
    assert "ner-store" in message
    assert "minimum memory usage per Container is 256Mi" in message
    assert "spec.rendezvous.resources" in message


@pytest.mark.parametrize(
    ("resource", "rule", "amounts", "words"),
    [
        (RANGES, LARGE, AMOUNTS, "minimum memory usage per Container is 256Mi"),
        (QUOTAS, an_object(QUOTAS, "team", spec={"hard": QUOTA}), NO_CPU_LIMIT, "limits.cpu for: dtj-launcher,trainer"),
    ],
    ids=["limit range", "quota"],
)
async def test_the_launchers_container_that_is_refused_is_named_with_the_field_to_change(
    client, namespace, start, resource, rule, amounts, words
):
    """A quota names the container that it refuses, a limit range does not."""
    await client.create(resource, namespace, rule)
    start(*FOREIGN)
    job = a_limited_job("ner")
    job["spec"]["workers"]["template"]["spec"]["containers"][0]["resources"] = amounts
    job["spec"]["rendezvous"] = {"resources": AMOUNTS}
    message = await refusal(client, await created(client, namespace, job))
    assert words in message
    assert "the container dtj-launcher are spec.launcher.resources" in message
    assert "ner-store" not in message


async def test_the_store_pulls_by_the_secret_that_hangs_on_the_workers_account(client, namespace, start):
    key = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": '{"auths": {}}'}}
    await client.create(SECRETS, namespace, an_object(SECRETS, "regcred", **key))
    account = an_object(ACCOUNTS, "research", imagePullSecrets=[{"name": "regcred"}])
    await client.create(ACCOUNTS, namespace, account)
    start(*FOREIGN)
    job = await created(client, namespace, a_limited_job("pull", serviceAccountName="research"))
    for pod in (await pods_are(client, job, names_of("pull", 2))).values():
        assert pod["spec"]["serviceAccountName"] == "research"
        assert pod["spec"]["imagePullSecrets"] == [{"name": "regcred"}]
        mounted = [each for each in pod["spec"].get("volumes", []) if "projected" in each]
        assert mounted == [], "no token"
