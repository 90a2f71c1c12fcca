"""Two releases that serve the same namespace, as processes: each job is acted on by one of them from start to end."""

from __future__ import annotations

import json

import pytest
from fake_apiserver import FakeApiServer
from fake_kube import FakeKube
from operator_process import OperatorProcess, a_job, until

from dtj_api import names
from dtj_operator.kube.resources import JOBS, LEASES, PODS

JOBS_AT_ONCE = 40
RELEASES = ("one", "two")


@pytest.fixture
async def servers():
    """Two doors to the same objects: what comes through each is what one operator asked for."""
    kube = FakeKube()
    doors = {release: FakeApiServer(kube) for release in RELEASES}
    for door in doors.values():
        await door.start()
    yield doors
    for door in doors.values():
        await door.close()


@pytest.fixture
def start(servers, tmp_path):
    started = []

    def begin(release: str, *args: str) -> OperatorProcess:
        kubeconfig = tmp_path / release
        kubeconfig.write_text(servers[release].kubeconfig())
        lease = ("--lease-name", release)
        operator = OperatorProcess(kubeconfig, "default", tmp_path / f"{release}.log", *lease, *args)
        started.append(operator)
        return operator

    yield begin
    for operator in started:
        operator.__exit__()


def put_jobs(kube: FakeKube, prefix: str, **spec: object) -> None:
    for number in range(JOBS_AT_ONCE):
        job = a_job(f"{prefix}-{number}", 2, **spec)
        job["metadata"]["namespace"] = "default"
        kube.put(JOBS, job)


async def acted_on(door: FakeApiServer) -> set[str]:
    """Jobs that something was made or deleted for through this door."""
    found = set()
    for request in door.requests:
        if request.method in ("POST", "DELETE") and "dryRun" not in request.query:
            body = json.loads(await request.read())
            labels = body.get("metadata", {}).get("labels", {})
            found |= {labels[names.Label.JOB_NAME]} if names.Label.JOB_NAME in labels else set()
    return found


async def pods_are_there(kube: FakeKube, count: int) -> None:
    async def there() -> bool:
        return len(kube.all(PODS)) == count

    await until(there)


async def test_on_each_of_many_jobs_that_come_at_once_one_of_two_releases_acts(servers, start):
    operators = {release: start(release) for release in RELEASES}
    for operator in operators.values():
        await operator.leads()
    kube = servers["one"].kube

    put_jobs(kube, "ner")
    await pods_are_there(kube, 3 * JOBS_AT_ONCE)

    holders = {job["metadata"]["name"]: job["status"]["operator"] for job in kube.all(JOBS)}
    for release, door in servers.items():
        held = {name for name, holder in holders.items() if holder == f"default/{release}"}
        assert await acted_on(door) == held
        others = JOBS_AT_ONCE - len(held)
        page = await operators[release].metrics()
        assert f"dtj_operator_jobs_of_others {float(others)}" in page
        assert page.count("dtj_job_info{") == len(held), "a job that two tell of counts twice in every sum"
    assert {lease["metadata"]["name"] for lease in kube.all(LEASES)} == set(RELEASES)


async def test_managed_by_divides_the_jobs_without_a_word(servers, start):
    ours = "example.com/two"
    first, second = start("one"), start("two", "--managed-by", ours)
    await first.leads()
    await second.leads()
    kube = servers["one"].kube

    put_jobs(kube, "a")
    put_jobs(kube, "b", managedBy=ours)
    await pods_are_there(kube, 6 * JOBS_AT_ONCE)

    assert {name[0] for name in await acted_on(servers["one"])} == {"a"}
    assert {name[0] for name in await acted_on(servers["two"])} == {"b"}
    assert "dtj_operator_jobs_of_others 0.0" in await first.metrics()
