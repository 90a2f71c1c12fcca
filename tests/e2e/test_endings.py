"""How jobs end on a real cluster, and what an eviction and a suspension in the wrong moment cost them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

NAME = "own-script"
SECOND = names.worker_name(NAME, 1)


def endless(spec: Object) -> None:
    spec["workers"].update(replicas=2, minReplicas=2)
    spec["workers"]["template"]["spec"]["containers"][0]["command"][-1] = "1000000"


def reason_of_failure(status: Object) -> str:
    return str(next(each["reason"] for each in status["conditions"] if each["type"] == "Failed"))


def newest(jobs: Jobs) -> int:
    """Step of the newest checkpoint on the volume."""
    found = (jobs.work_dir(NAME) / "checkpoints").glob("step-*")
    return max(int(path.name[5:].partition(".")[0]) for path in found)


def test_an_evicted_pod_saves_first_and_is_charged_to_nobody(jobs: Jobs, tmp_path: Path) -> None:
    jobs.apply("own-script.yaml", endless)
    seen = jobs.wait_for_step(NAME, 150, 180)["status"]["progress"]["step"]
    eviction = tmp_path / "eviction.json"
    metadata = {"name": SECOND, "namespace": jobs.namespace}
    eviction.write_text(json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}))

    jobs.kubectl("create", "--raw", f"/api/v1/namespaces/{jobs.namespace}/pods/{SECOND}/eviction", "-f", str(eviction))
    jobs.wait(NAME, "jsonpath={.status.restarts.byCause.PodEvicted}=1", 120)
    jobs.wait(NAME, "jsonpath={.status.incarnation}=2", 180)
    status = jobs.wait(NAME, "jsonpath={.status.phase}=Running", 120)["status"]

    assert status["restarts"]["counted"] == 0
    (recovery,) = status["recoveries"]
    assert recovery["cause"] == "PodEvicted"
    assert newest(jobs) >= seen, "it saved in its grace period, before the next save was due"
    print(f"evicted: {recovery['seconds']} s {recovery['phases']}, {recovery.get('stepsRedone')} steps redone")


def test_a_deadline_saves_then_ends_the_job_and_its_time_to_live_removes_it(jobs: Jobs) -> None:
    def limited(spec: Object) -> None:
        endless(spec)
        spec["lifecycle"] = {"activeDeadline": "45s", "ttlAfterFinished": "15s", "cleanPods": "All"}

    jobs.apply("own-script.yaml", limited)
    status = jobs.wait(NAME, "condition=Failed", 180)["status"]
    assert reason_of_failure(status) == "DeadlineExceeded"
    step = status["progress"]["step"]
    jobs.wait_for_no_pods(NAME, 180)
    assert newest(jobs) >= step, "what a healthy training had done is saved"
    jobs.kubectl("wait", "--for=delete", f"{names.PLURAL}/{NAME}", "-n", jobs.namespace, "--timeout=180s", timeout=240)


def test_a_job_that_cannot_start_in_time_says_so(jobs: Jobs) -> None:
    def too_large(spec: Object) -> None:
        endless(spec)
        spec["schedule"] = {"startTimeout": "10s"}
        container = spec["workers"]["template"]["spec"]["containers"][0]
        container.setdefault("resources", {})["limits"] = {"nvidia.com/gpu": "99"}

    jobs.apply("own-script.yaml", too_large)
    status = jobs.wait(NAME, "condition=Failed", 240)["status"]
    assert reason_of_failure(status) == "StartTimeout"
    assert status["restarts"].get("counted", 0) == 0


def test_a_job_that_is_suspended_while_it_recovers_goes_on_where_it_was(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", endless)
    jobs.wait_for_step(NAME, 150, 180)

    jobs.kubectl("delete", "pod", SECOND, "-n", jobs.namespace, "--grace-period=0", "--force")
    jobs.patch(NAME, {"suspend": True})
    jobs.wait(NAME, "jsonpath={.status.phase}=Suspended", 180)
    jobs.wait_for_no_pods(NAME, 180)
    saved = newest(jobs)
    assert saved >= 100
    suspended = jobs.job(NAME)["status"]
    assert suspended["restarts"].get("counted", 0) == 0

    jobs.patch(NAME, {"suspend": False})
    status = jobs.wait(NAME, "jsonpath={.status.phase}=Running", 180)["status"]
    assert status["progress"]["step"] >= saved
    assert status["restarts"].get("byCause", {}) == suspended["restarts"].get("byCause", {})
