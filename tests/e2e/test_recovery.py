"""What a job lives through besides a dead rank, one after the other: starting a job takes longer than each of them."""

from __future__ import annotations

import re

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

STEPS = 1_000_000
"""More than any machine makes meanwhile: this job is not there to end."""
NAME = "own-script"
FIRST, SECOND, STORE = names.worker_name(NAME, 0), names.worker_name(NAME, 1), names.store_name(NAME)


def elastic(spec: Object) -> None:
    spec["workers"].update(replicas=2, minReplicas=1, maxReplicas=3)
    command = spec["workers"]["template"]["spec"]["containers"][0]["command"]
    command[-1] = str(STEPS)


def uids(jobs: Jobs) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in jobs.pods(NAME)}


def trains_on(jobs: Jobs, incarnation: int) -> dict[str, str]:
    """Wait until the workers of this incarnation have made steps; the uids of the worker pods then."""
    jobs.wait(NAME, f"jsonpath={{.status.incarnation}}={incarnation}", 60)
    jobs.wait(NAME, "jsonpath={.status.phase}=Running", 60)
    return uids(jobs)


def test_a_job_lives_through_the_loss_of_a_pod_and_of_its_store_and_two_resizes(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", elastic)
    jobs.wait_for_step(NAME, 200, 180)
    start = uids(jobs)

    jobs.kubectl("delete", "pod", SECOND, "-n", jobs.namespace, "--wait=false")
    replaced = trains_on(jobs, 2)
    assert replaced[FIRST] == start[FIRST]
    assert replaced[SECOND] != start[SECOND]

    jobs.kubectl("delete", "pod", STORE, "-n", jobs.namespace, "--grace-period=0", "--force")
    assert trains_on(jobs, 3) == replaced

    jobs.stop_processes(STORE)
    assert trains_on(jobs, 4) == replaced

    jobs.kubectl("scale", names.PLURAL, NAME, "-n", jobs.namespace, "--replicas=3")
    assert trains_on(jobs, 5).items() > replaced.items()

    jobs.kubectl("scale", names.PLURAL, NAME, "-n", jobs.namespace, "--replicas=1")
    trains_on(jobs, 6)
    jobs.wait_for_pods(NAME, {FIRST}, 60)
    status = jobs.job(NAME)["status"]
    assert uids(jobs) == {FIRST: start[FIRST]}
    assert status["restarts"]["byCause"] == {"PodDeleted": 1, "StoreLost": 2, "Resize": 2}
    assert status["restarts"]["excused"] == 5
    assert status["restarts"]["counted"] == 0, "nothing of this is the user's fault"
    recoveries = status["recoveries"]
    assert [each["cause"] for each in recoveries] == ["PodDeleted", "StoreLost", "StoreLost", "Resize", "Resize"]
    for each in recoveries:
        print(f"{each['cause']}: {each['seconds']} s {each['phases']}, {each.get('stepsRedone')} steps redone")
        assert each["seconds"] == pytest.approx(sum(each["phases"].values()), abs=0.01)
        assert {"detect", "pod", "rendezvous", "start", "firstStep"} <= each["phases"].keys()
        assert each["stepsRedone"] >= 0
    resumed = [int(step) for step in re.findall(r"goes on from step (\d+)", jobs.logs_of_ranks(NAME))]
    assert min(resumed) >= 100, "nobody began anew"
