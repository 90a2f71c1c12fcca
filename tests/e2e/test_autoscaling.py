"""A HorizontalPodAutoscaler changes the number of workers of a job that trains: the real controller, fed by the real
metrics-server, through the job's scale subresource.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_cluster import metrics_server

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(1200)]

NAME = "own-script"
FIRST, SECOND, THIRD = (names.worker_name(NAME, index) for index in range(3))
PAGE = Path(__file__).resolve().parents[2] / "docs" / "recovery.md"


@pytest.fixture
def measured(jobs: Jobs) -> Jobs:
    """A cluster that tells how much pods use."""
    metrics_server.start(jobs.cluster)
    return jobs


def elastic(spec: Object) -> None:
    spec["workers"].update(replicas=2, minReplicas=1, maxReplicas=3)
    container = spec["workers"]["template"]["spec"]["containers"][0]
    container["command"][-1] = "1000000"


def of_the_docs(target: str) -> Object:
    """The autoscaler that the documentation shows, for this job: as many workers as use `target` CPUs each."""
    (shown,) = re.findall(r"^```yaml\n(apiVersion: autoscaling.*?)^```", PAGE.read_text(), re.M | re.S)
    found: Object = yaml.safe_load(shown)
    found["metadata"]["name"] = found["spec"]["scaleTargetRef"]["name"] = NAME
    found["spec"].update(minReplicas=1, maxReplicas=3)
    (metric,) = found["spec"]["metrics"]
    metric["resource"]["target"]["averageValue"] = target
    # Two changes in one test: the pauses of the documentation are for people who pay for each.
    for rules in found["spec"]["behavior"].values():
        (policy,) = rules["policies"]
        policy.update(value=2, periodSeconds=15)
        rules["stabilizationWindowSeconds"] = 0
    return found


def autoscaled(jobs: Jobs, target: str) -> None:
    scaler = of_the_docs(target)
    scaler["metadata"]["namespace"] = jobs.namespace
    jobs.kubectl.apply(scaler)


def trains_on(jobs: Jobs, incarnation: int, pods: set[str]) -> dict[str, str]:
    """Wait until the workers of this incarnation have made steps, and are these; their uids by name."""
    jobs.wait(NAME, f"jsonpath={{.status.incarnation}}={incarnation}", 180)
    jobs.wait(NAME, "jsonpath={.status.phase}=Running", 120)
    jobs.wait_for_pods(NAME, pods, 180)
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in jobs.pods(NAME)}


def what_was_done(jobs: Jobs) -> list[str]:
    """What the autoscaler says that it did."""
    chosen = ("--field-selector", "reason=SuccessfulRescale,involvedObject.kind=HorizontalPodAutoscaler")
    told = jobs.kubectl(
        "get", "events", "-n", jobs.namespace, *chosen, "--sort-by=.lastTimestamp",
        "-o", 'jsonpath={range .items[*]}{.message}{"\\n"}{end}',
    )  # fmt: skip
    return [re.sub(r";.*", "", line) for line in told.splitlines()]


def test_an_autoscaler_grows_and_shrinks_a_job_that_trains(measured: Jobs) -> None:
    jobs = measured
    jobs.apply("own-script.yaml", elastic)
    seen = jobs.wait_for_step(NAME, 200, 180)["status"]["progress"]["step"]
    start = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in jobs.pods(NAME)}
    assert start.keys() == {FIRST, SECOND}

    autoscaled(jobs, "10m")
    grown = trains_on(jobs, 2, {FIRST, SECOND, THIRD})
    assert grown.items() > start.items(), "those who were there stayed"
    assert jobs.job(NAME)["spec"]["workers"]["replicas"] == 3

    autoscaled(jobs, "100")
    assert trains_on(jobs, 3, {FIRST}) == {FIRST: start[FIRST]}
    job = jobs.wait_for_step(NAME, seen + 200, 120)

    assert job["spec"]["workers"]["replicas"] == 1
    assert what_was_done(jobs) == ["New size: 3", "New size: 1"]
    restarts = job["status"]["restarts"]
    assert restarts["byCause"] == {"Resize": 2}
    assert (restarts["counted"], restarts["excused"]) == (0, 2)
    resumed = [int(step) for step in re.findall(r"goes on from step (\d+)", jobs.logs_of_ranks(NAME))]
    assert min(resumed) >= seen, "all saved before each change"
