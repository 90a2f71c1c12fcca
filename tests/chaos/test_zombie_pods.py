"""A whole pod that stood still while it was given up, and then goes on: nothing that it writes is ever read.

    DTJ_ZOMBIE_ROUNDS=100 pytest -s tests/chaos/test_zombie_pods.py

Its kubelet is away, so that nobody ends the pod whose object is gone. One rank trains alone, so what goes on really
trains and saves; a spare has taken its place by then.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

ROUNDS = int(os.environ.get("DTJ_ZOMBIE_ROUNDS", "100"))
GOES_ON = 2.0
"""Seconds for which a zombie lives on before its kubelet is back."""
HEARD = 6.0
"""Seconds within which the operator asks every pod."""
NAME = "own-script"


def alone(spec: Object) -> None:
    spec["workers"].update(replicas=1, spares=1)
    spec["workers"]["template"]["spec"]["containers"][0]["command"][-1] = "100000000"
    spec["checkpoint"]["every"] = {"steps": 50}
    spec["failurePolicy"] = {"maxRestarts": 10_000}


def step_of(checkpoint: str) -> int:
    found = re.fullmatch(r"step-(\d+)\.i\d+", checkpoint)
    assert found, checkpoint
    return int(found[1])


def saved_by(folder: Path, incarnation: int) -> set[str]:
    return {path.name for path in (folder / "checkpoints").glob(f"step-*.i{incarnation}")}


def restored(folder: Path, incarnation: int) -> str:
    """The checkpoint that an incarnation went on from."""
    return str(json.loads((folder / "lineage" / str(incarnation)).read_text())["restored"])


def settled(jobs: Jobs) -> Object:
    """The status once a spare stands ready and the operator has heard of it."""
    jobs.wait(NAME, "jsonpath={.status.workers.spare}=1", 180)
    for index in range(2):
        pod = names.worker_name(NAME, index)
        jobs.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "-n", jobs.namespace, "--timeout=120s")
    time.sleep(HEARD)
    status: Object = jobs.job(NAME)["status"]
    return status


def next_that_saves(jobs: Jobs, folder: Path, incarnation: int) -> int:
    """The incarnation after this one, once it has saved."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = int(jobs.job(NAME)["status"]["incarnation"])
        if now > incarnation and saved_by(folder, now):
            return now
        time.sleep(0.2)
    pytest.fail(f"after incarnation {incarnation} nothing was saved\n{jobs.story(NAME)}")


def trained_by_zombie(folder: Path, incarnation: int, after: int) -> set[str]:
    """What the old incarnation publishes while it goes on; its successor removes it again."""
    found: set[str] = set()
    until = time.monotonic() + GOES_ON
    while time.monotonic() < until:
        found |= {name for name in saved_by(folder, incarnation) if step_of(name) > after}
        time.sleep(0.01)
    return found


def test_nothing_that_a_zombie_writes_is_ever_read(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", alone)
    jobs.wait_for_step(NAME, 100, 300)
    folder = jobs.work_dir(NAME)
    written, chain = 0, [1]
    for number in range(1, ROUNDS + 1):
        status = settled(jobs)
        incarnation = int(status["incarnation"])
        assert incarnation == chain[-1], "nothing happened meanwhile"
        victim = names.worker_name(NAME, status["members"][0])
        pod = json.loads(jobs.kubectl("get", "pod", victim, "-n", jobs.namespace, "-o", "json"))
        node, pids = pod["spec"]["nodeName"], jobs.processes(victim)

        jobs.cluster.stop_node(node)
        try:
            send(pids, signal.SIGSTOP)
            jobs.kubectl("delete", "pod", victim, "-n", jobs.namespace, "--grace-period=0", "--force")
            chain.append(next_that_saves(jobs, folder, incarnation))
            base = restored(folder, chain[-1])
            send(pids, signal.SIGCONT)
            late = trained_by_zombie(folder, incarnation, step_of(base))
        finally:
            send(pids, signal.SIGCONT)
            jobs.cluster.start_node(node)
        written += bool(late)
        print(f"round {number}: goes on from {base}; the zombie published {len(late)} later ones", flush=True)

    status = jobs.job(NAME)["status"]
    assert status["restarts"]["counted"] == 0
    assert status["restarts"]["excused"] == ROUNDS
    for earlier, later in itertools.pairwise(chain):
        base = restored(folder, later)
        assert base == restored(folder, earlier) or base.endswith(f".i{earlier}"), "only of the chain"
        assert earlier == 1 or step_of(base) >= step_of(restored(folder, earlier)), "nothing was lost"
    print(f"{ROUNDS} rounds; in {written} of them the zombie published checkpoints after its successor had begun")
    assert written >= ROUNDS / 2, "most zombies have written something that nobody may read"


def send(pids: list[int], signum: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
