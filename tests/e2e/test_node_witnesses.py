"""A node is lost by two witnesses, and an operator that is cut off is none: what trains is left alone, on real pods."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_jobs import Jobs, Object

from dtj_demo import chart

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(1200)]

NAME = "own-script"
TOLERATE = 5
"""Seconds that a node may be away in this job."""
AWAY_STEPS = 1000
"""More than it makes in `TOLERATE` seconds and those in which its node is missed."""


def impatient(spec: Object) -> None:
    spec["workers"].update(replicas=2, minReplicas=2)
    spec["workers"]["template"]["spec"]["containers"][0]["command"][-1] = "1000000"
    spec["failurePolicy"] = {"nodeLoss": {"tolerate": f"{TOLERATE}s"}}


def uids(jobs: Jobs) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in jobs.pods(NAME)}


def is_ready(jobs: Jobs, node: str) -> bool:
    told = json.loads(jobs.kubectl("get", "node", node, "-o", "json"))["status"]["conditions"]
    return next(each["status"] for each in told if each["type"] == "Ready") == "True"


@contextlib.contextmanager
def kubelets_stopped(jobs: Jobs, nodes: list[str]) -> Iterator[None]:
    """Containers run on, and the control plane misses the nodes."""
    try:
        for node in nodes:
            jobs.cluster.stop_node(node)
        jobs.wait_until("the nodes are missed", lambda: not any(is_ready(jobs, node) for node in nodes), 120)
        yield
    finally:
        for node in nodes:
            jobs.cluster.start_node(node)
    jobs.wait_until("the nodes are back", lambda: all(is_ready(jobs, node) for node in nodes), 120)


@contextlib.contextmanager
def operator_cut_off(jobs: Jobs) -> Iterator[None]:
    """The operator reaches the API server and no worker."""
    found = json.loads(jobs.kubectl("get", "pods", "-n", chart.NAMESPACE, "-o", "json"))["items"]
    operators = [pod["metadata"]["uid"] for pod in found]
    inside = [
        cgroup.parent.name
        for cgroup in Path("/proc").glob("[0-9]*/cgroup")
        if any(f"/pod{uid}/" in _text(cgroup) for uid in operators)
    ]
    assert inside, "the operator runs on this machine"
    addresses = [pod["status"]["podIP"] for pod in jobs.pods(NAME)]
    namespaces = {Path(f"/proc/{pid}/ns/net").readlink(): pid for pid in inside}.values()

    def route(verb: str) -> None:
        for pid in namespaces:
            for address in addresses:
                subprocess.run(["nsenter", "-t", pid, "-n", "ip", "route", verb, "blackhole", address], check=True)

    route("add")
    try:
        yield
    finally:
        route("del")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def step(jobs: Jobs) -> int:
    return int(jobs.job(NAME)["status"]["progress"]["step"])


def test_what_trains_is_left_alone_by_whoever_sees_half(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", impatient)
    jobs.wait_for_step(NAME, 200, 240)
    before = uids(jobs)
    nodes = sorted({pod["spec"]["nodeName"] for pod in jobs.pods(NAME)})

    with kubelets_stopped(jobs, nodes[:1]):
        jobs.wait_for_step(NAME, step(jobs) + AWAY_STEPS, 300)
        assert uids(jobs) == before, f"one kubelet is gone, and its launchers answer\n{jobs.story(NAME)}"

    every = [node.name for node in jobs.cluster.nodes]
    with kubelets_stopped(jobs, every):
        jobs.wait_for_step(NAME, step(jobs) + AWAY_STEPS, 300)
        assert uids(jobs) == before, "all kubelets are gone, and the launchers answer"

    with operator_cut_off(jobs):
        jobs.wait(NAME, "jsonpath={.status.conditions[?(@.type=='Ready')].reason}=Unreachable", 180)
        assert uids(jobs) == before, "nobody answers the operator, who has no second witness"
    jobs.wait_for_step(NAME, step(jobs) + AWAY_STEPS, 300)

    assert uids(jobs) == before
    status = jobs.job(NAME)["status"]
    assert status["incarnation"] == 1
    assert status["restarts"].get("counted", 0) == status["restarts"].get("excused", 0) == 0
