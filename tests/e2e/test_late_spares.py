"""A spare that comes too late: it is of no use to anybody, and nobody may notice it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

NAME = "late"
FIRST, SECOND, SPARE = (names.worker_name(NAME, index) for index in range(3))
GATE = "/gate"
TESTED = "tested"
STEPS = 30
SCRIPT = f"""
import pathlib, time
import torch.distributed as dist
import dtj
dist.init_process_group("gloo")
for step in range(1, {STEPS} + 1):
    dist.barrier()
    dtj.report(step=step, total_steps={STEPS})
if dist.get_rank() == 0:
    with dtj.phase("evaluate"):
        while not pathlib.Path("{GATE}/{TESTED}").exists():
            time.sleep(0.1)
dtj.done()
"""
"""Training is through at once; then rank 0 tests for as long as the test wants, and all others leave."""


def until(jobs: Jobs, holds: Callable[[Object], bool], what: str) -> None:
    """Wait until the job's status is so."""
    deadline = time.monotonic() + 180
    while not holds(jobs.job(NAME)["status"]):
        assert time.monotonic() < deadline, f"{what}: not within 180 s\n{jobs.story(NAME)}"
        time.sleep(0.3)


def once(file: str) -> list[str]:
    """A command that ends once the gate has this pod's file."""
    return ["sh", "-c", f"until [ -e {GATE}/{file}-$HOSTNAME ]; do sleep 0.2; done"]


def job(jobs: Jobs) -> Object:
    """Two workers and a spare. A pod starts, and is ready, only once the gate has its file for that."""
    image = {"image": jobs.place.trainer.reference, "imagePullPolicy": "IfNotPresent"}
    mounts = [{"name": "gate", "mountPath": GATE}]
    trainer = {
        **image,
        "name": names.TRAINER_CONTAINER,
        "command": ["python", f"{GATE}/script.py"],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "volumeMounts": mounts,
        "readinessProbe": {"exec": {"command": ["sh", "-c", f"[ -e {GATE}/ready-$HOSTNAME ]"]}, "periodSeconds": 1},
    }
    pod = {
        "initContainers": [{**image, "name": "gate", "command": once("start"), "volumeMounts": mounts}],
        "containers": [trainer],
        "volumes": [{"name": "gate", "persistentVolumeClaim": {"claimName": jobs.place.claim}}],
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": NAME, "namespace": jobs.namespace},
        "spec": {"workers": {"replicas": 2, "spares": 1, "template": {"spec": pod}}},
    }


def let(jobs: Jobs, what: str, *pods: str) -> None:
    """Let these pods start, or be ready."""
    for pod in pods:
        (jobs.folder / f"{what}-{pod}").touch()


def one_waits_for_rank_0(jobs: Jobs) -> None:
    """Apply the job, and wait until all ranks but rank 0 are through and their pod has ended."""
    (jobs.folder / "script.py").write_text(SCRIPT)
    let(jobs, "start", FIRST, SECOND)
    let(jobs, "ready", FIRST, SECOND)
    jobs.kubectl.apply(job(jobs))
    jobs.wait_for_step(NAME, STEPS, 180)
    until(jobs, lambda status: status.get("finishedMembers") == [1], "member 1 is through")


def wait_for(jobs: Jobs, pod: str, what: str, seconds: int = 120) -> None:
    jobs.kubectl("wait", f"--for={what}", f"pod/{pod}", "-n", jobs.namespace, f"--timeout={seconds}s")


def nothing_happened(jobs: Jobs) -> None:
    """The job is as it would be without the spare, and the spare is gone."""
    jobs.kubectl("wait", "--for=delete", f"pod/{SPARE}", "-n", jobs.namespace, "--timeout=90s")
    status = jobs.job(NAME)["status"]
    assert status["phase"] == "Succeeded"
    assert status["incarnation"] == 1
    assert status["members"] == [0, 1]
    assert status["restarts"].get("byCause", {}) == {}
    assert status["restarts"].get("counted", 0) == 0
    assert status["restarts"].get("excused", 0) == 0
    assert status.get("recoveries", []) == []
    assert {pod["metadata"]["name"] for pod in jobs.pods(NAME)} == {FIRST, SECOND}
    reasons = jobs.kubectl("get", "events", "-n", jobs.namespace, "-o", "jsonpath={.items[*].reason}").split()
    assert not {"WorkerLost", "Resized", "RankFailed", "Recovered"} & set(reasons)


def test_a_spare_that_becomes_ready_while_rank_0_tests_joins_nothing(jobs: Jobs) -> None:
    one_waits_for_rank_0(jobs)

    let(jobs, "ready", SPARE)
    let(jobs, "start", SPARE)
    wait_for(jobs, SPARE, "condition=Ready")
    moment = datetime.now(UTC)
    until(jobs, lambda status: datetime.fromisoformat(status["updatedAt"]) > moment, "the operator looks again")
    (jobs.folder / TESTED).touch()
    jobs.wait(NAME, "condition=Succeeded", 180)

    nothing_happened(jobs)


def test_a_spare_that_becomes_ready_after_the_end_joins_nothing(jobs: Jobs) -> None:
    one_waits_for_rank_0(jobs)

    let(jobs, "start", SPARE)
    wait_for(jobs, SPARE, "jsonpath={.status.phase}=Running")
    (jobs.folder / TESTED).touch()
    jobs.wait(NAME, "condition=Succeeded", 180)
    let(jobs, "ready", SPARE)
    wait_for(jobs, SPARE, "condition=Ready", 20)

    nothing_happened(jobs)


def test_a_spare_whose_pod_has_not_started_by_the_end_goes(jobs: Jobs) -> None:
    one_waits_for_rank_0(jobs)

    wait_for(jobs, SPARE, "jsonpath={.status.phase}=Pending")
    (jobs.folder / TESTED).touch()
    jobs.wait(NAME, "condition=Succeeded", 180)
    let(jobs, "start", SPARE)

    nothing_happened(jobs)
