"""What a job lives through besides a dead rank, one after the other: starting a job takes longer than each of them."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import datetime

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_demo import chart

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

STEPS = 1_000_000
"""More than any machine makes meanwhile: this job is not there to end."""
NAME = "own-script"
FIRST, SECOND, THIRD = (names.worker_name(NAME, index) for index in range(3))
STORE = names.store_name(NAME)


def elastic(spec: Object) -> None:
    spec["workers"].update(replicas=2, minReplicas=1, maxReplicas=3)
    command = spec["workers"]["template"]["spec"]["containers"][0]["command"]
    command[-1] = str(STEPS)


def elastic_without_names(spec: Object) -> None:
    """Its pods have no DNS server that answers: they meet by address."""
    elastic(spec)
    spec["workers"]["template"]["spec"].update(dnsPolicy="None", dnsConfig={"nameservers": ["203.0.113.1"]})


def uids(jobs: Jobs) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in jobs.pods(NAME)}


def trains_on(jobs: Jobs, incarnation: int) -> dict[str, str]:
    """Wait until the workers of this incarnation have made steps; the uids of the worker pods then."""
    jobs.wait(NAME, f"jsonpath={{.status.incarnation}}={incarnation}", 180)
    jobs.wait(NAME, "jsonpath={.status.phase}=Running", 180)
    return uids(jobs)


def test_a_job_lives_through_the_loss_of_a_pod_and_of_its_store_and_two_resizes(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", elastic_without_names)
    jobs.wait_for_step(NAME, 200, 300)
    start = uids(jobs)

    jobs.kubectl("delete", "pod", SECOND, "-n", jobs.namespace, "--wait=false")
    replaced = trains_on(jobs, 2)
    assert replaced[FIRST] == start[FIRST]
    assert replaced[SECOND] != start[SECOND]

    jobs.kubectl("delete", "pod", STORE, "-n", jobs.namespace, "--grace-period=0", "--force")
    assert trains_on(jobs, 3) == replaced

    jobs.signal_processes(STORE, signal.SIGSTOP)
    assert trains_on(jobs, 4) == replaced

    jobs.kubectl("scale", names.PLURAL, NAME, "-n", jobs.namespace, "--replicas=3")
    assert trains_on(jobs, 5).items() > replaced.items()

    jobs.kubectl("scale", names.PLURAL, NAME, "-n", jobs.namespace, "--replicas=1")
    trains_on(jobs, 6)
    jobs.wait_for_pods(NAME, {FIRST}, 180)
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


def guarded(spec: Object) -> None:
    elastic(spec)
    spec["workers"].update(minReplicas=2, spares=1)
    spec["failurePolicy"] = {"hang": {"stepTimeout": "6s"}}


def stands_by(jobs: Jobs) -> None:
    jobs.wait(NAME, "jsonpath={.status.workers.spare}=1", 180)
    for pod in (FIRST, SECOND, THIRD):
        jobs.kubectl("wait", "--for=condition=Ready", "pod", pod, "-n", jobs.namespace, "--timeout=180s", timeout=240)


def test_a_spare_takes_over_at_once_and_a_hang_is_found(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", guarded)
    jobs.wait_for_step(NAME, 200, 300)
    stands_by(jobs)
    start, status = uids(jobs), jobs.job(NAME)["status"]
    # Where a worker was slow at the start, the spare has its place already, by a meeting before the first step.
    incarnation, stays, goes = status["incarnation"] + 1, *(f"{NAME}-worker-{each:04d}" for each in status["members"])
    (spare,) = start.keys() - {stays, goes}

    jobs.kubectl("delete", "pod", goes, "-n", jobs.namespace, "--grace-period=0", "--force")
    after = trains_on(jobs, incarnation)
    members = jobs.job(NAME)["status"]["members"]
    assert {f"{NAME}-worker-{each:04d}" for each in members} == {stays, spare}, "the spare took the place"
    assert (after[stays], after[spare]) == (start[stays], start[spare])
    stands_by(jobs)
    replaced = uids(jobs)
    assert replaced[goes] != start[goes], "the replacement is the new spare"

    second = f"{NAME}-worker-{members[1]:04d}"
    jobs.kill_rank(second, signal.SIGSTOP)
    jobs.wait(NAME, "jsonpath={.status.restarts.byCause.Hang}=1", 180)
    assert trains_on(jobs, incarnation) == replaced
    folder = jobs.work_dir(NAME) / "logs" / f"{incarnation}-1"
    stacks = {path.name: path.read_text() for path in folder.glob("*.stack")}
    assert stacks["1.stack"] == "no stack: the process is stopped\n"
    assert "own_script.py" in stacks["0.stack"]

    # A recovery is told once all launchers have told of their first step, which may be after the job runs.
    jobs.wait_until("two recoveries are told", lambda: len(jobs.job(NAME)["status"].get("recoveries", [])) > 1, 180)
    status = jobs.job(NAME)["status"]
    lost, hung = status["recoveries"]
    for each in (lost, hung):
        print(f"{each['cause']}: {each['seconds']} s {each['phases']}, {each.get('stepsRedone')} steps redone")
    assert hung["cause"] == "Hang"
    assert status["restarts"]["counted"] == 1
    assert status["restarts"]["excused"] == 1


@pytest.mark.soak
def test_a_launcher_that_is_stopped_is_given_up(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", guarded)
    jobs.wait_for_step(NAME, 200, 180)
    stands_by(jobs)
    before = uids(jobs)

    os.kill(jobs.launcher(SECOND), signal.SIGSTOP)
    jobs.wait(NAME, "jsonpath={.status.restarts.byCause.PodFailed}=1", 120)
    trains_on(jobs, 2)

    status = jobs.job(NAME)["status"]
    assert status["members"] == [0, 2], "the spare took the place"
    # Nobody waits for its replacement.
    jobs.wait_until("another pod", lambda: uids(jobs).get(SECOND, before[SECOND]) != before[SECOND], 180)
    assert status["restarts"]["counted"] == 1
    assert status["restarts"].get("excused", 0) == 0
    # It is told once all launchers have told of their first step, which may be after the job runs.
    jobs.wait_until("a recovery", lambda: bool(jobs.job(NAME)["status"].get("recoveries")), 180)
    (recovery,) = jobs.job(NAME)["status"]["recoveries"]
    print(f"{recovery['cause']}: {recovery['seconds']} s {recovery['phases']}")


def broken(spec: Object) -> None:
    # Of several ranks one may fail first because another one did, which is no error of the user's.
    spec["workers"]["replicas"] = 1
    spec["workers"]["template"]["spec"]["containers"][0]["command"].append("--width=-1")


def test_the_same_error_of_the_users_twice_ends_the_job_with_its_words(jobs: Jobs) -> None:
    name = jobs.apply("own-script.yaml", broken)
    status = jobs.wait(name, "condition=Failed", 240)["status"]
    failed = next(each for each in status["conditions"] if each["type"] == "Failed")
    assert failed["reason"] == "UserError"
    assert "negative dimension" in failed["message"]
    assert "own_script.py" in failed["message"], "the traceback says where"
    # A launcher does not wait for the operator, who looks every few seconds; each failure is counted.
    assert 2 <= status["restarts"]["counted"] <= 5
    assert status["incarnation"] == 1, "its pods stayed"


def of_two(spec: Object) -> None:
    elastic(spec)
    spec["workers"]["minReplicas"] = 2


def test_a_slow_rank_is_named_and_left_alone(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", of_two)
    jobs.wait_for_step(NAME, 20, 300)
    jobs.throttle(SECOND, 0.15)
    before = uids(jobs)

    status = jobs.wait(NAME, "condition=Straggler", 300)["status"]

    (pod,) = (each for each in jobs.pods(NAME) if each["metadata"]["name"] == SECOND)
    slow = status["straggler"]
    assert slow["pod"] == SECOND
    assert slow["node"] == pod["spec"]["nodeName"]
    assert slow["ratio"] >= 1.5
    said = next(each for each in status["conditions"] if each["type"] == "Straggler")
    assert said["message"].startswith(f"rank {slow['rank']} (pod {SECOND}, node {slow['node']}) takes ")
    assert uids(jobs) == before
    assert status["restarts"].get("counted", 0) == 0


TOLERATE = 4


def spread(spec: Object) -> None:
    elastic(spec)
    spec["workers"]["minReplicas"] = 2
    spec["failurePolicy"] = {"nodeLoss": {"tolerate": f"{TOLERATE}s"}}
    spec["workers"]["template"]["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            # A lost node is tainted, and then does not count.
            "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchLabels": {names.Label.JOB_NAME: NAME, names.Label.COMPONENT: "worker"}},
        }
    ]


def created(pod: Object) -> datetime:
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


@pytest.mark.soak
def test_a_lost_node_costs_no_more_than_its_pods_and_is_avoided(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", spread)
    jobs.wait_for_step(NAME, 200, 180)
    before = {pod["metadata"]["name"]: pod for pod in jobs.pods(NAME)}
    operator = jobs.kubectl("get", "pods", "-n", chart.NAMESPACE, "-o", "jsonpath={.items[*].spec.nodeName}").split()
    victim = next(pod["spec"]["nodeName"] for pod in before.values() if pod["spec"]["nodeName"] not in operator)
    lost = {name for name, pod in before.items() if pod["spec"]["nodeName"] == victim}
    assert len(lost) == 1, "the workers are spread"

    jobs.cluster.kill_node(victim)
    try:
        jobs.wait(NAME, "jsonpath={.status.restarts.byCause.NodeLost}=1", 120)
        jobs.wait(NAME, "jsonpath={.status.phase}=Running", 120)
        after = {pod["metadata"]["name"]: pod for pod in jobs.pods(NAME)}
        node = json.loads(jobs.kubectl("get", "node", victim, "-o", "json"))
    finally:
        jobs.cluster.start_node(victim)

    (name,) = lost
    ready = next(each for each in node["status"]["conditions"] if each["type"] == "Ready")
    away = datetime.fromisoformat(ready["lastTransitionTime"])
    print(
        f"replaced {(created(after[name]) - away).total_seconds():.0f} s after Ready left True, tolerate {TOLERATE} s"
    )
    assert after[name]["spec"]["nodeName"] != victim
    assert {uid for n, uid in uids(jobs).items() if n not in lost} == {
        pod["metadata"]["uid"] for n, pod in before.items() if n not in lost
    }
    status = jobs.job(NAME)["status"]
    assert [each["name"] for each in status["excludedNodes"]] == [victim]
    assert status["restarts"]["counted"] == 0
    (recovery,) = status["recoveries"]
    # Where the store was there too, it is missed before the control plane misses the node.
    assert recovery["cause"] in ("NodeLost", "StoreLost")
    assert recovery["node"] == victim
