"""A whole pod that stood still while it was given up, and then goes on: nothing that it writes is ever read.

    DTJ_ZOMBIE_ROUNDS=100 pytest -s tests/chaos/test_zombie_pods.py

Its kubelet is away, so that nobody ends the pod whose object is gone. One rank trains alone, so what goes on really
trains and saves; a spare has taken its place by then.
"""

from __future__ import annotations

import contextlib
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


def wait_for_save(jobs: Jobs, folder: Path, incarnation: int) -> None:
    deadline = time.monotonic() + 120
    while not saved_by(folder, incarnation):
        assert time.monotonic() < deadline, f"incarnation {incarnation} saved nothing\n{jobs.story(NAME)}"
        time.sleep(0.1)


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
    written = 0
    for incarnation in range(1, ROUNDS + 1):
        jobs.wait(NAME, "jsonpath={.status.workers.spare}=1", 180)
        jobs.wait(NAME, "jsonpath={.status.workers.ready}=2", 180)
        wait_for_save(jobs, folder, incarnation)
        victim = names.worker_name(NAME, jobs.job(NAME)["status"]["members"][0])
        pod = json.loads(jobs.kubectl("get", "pod", victim, "-n", jobs.namespace, "-o", "json"))
        node = pod["spec"]["nodeName"]
        pids = jobs.processes(victim)

        jobs.cluster.stop_node(node)
        try:
            send(pids, signal.SIGSTOP)
            jobs.kubectl("delete", "pod", victim, "-n", jobs.namespace, "--grace-period=0", "--force")
            wait_for_save(jobs, folder, incarnation + 1)
            base = restored(folder, incarnation + 1)
            assert base == restored(folder, incarnation) or base.endswith(f".i{incarnation}")
            send(pids, signal.SIGCONT)
            late = trained_by_zombie(folder, incarnation, step_of(base))
        finally:
            send(pids, signal.SIGCONT)
            jobs.cluster.start_node(node)
        written += bool(late)
        print(
            f"round {incarnation}: {node}; went on from {base}; the zombie published {len(late)} later ones", flush=True
        )

    status = jobs.job(NAME)["status"]
    assert status["restarts"]["counted"] == 0
    assert status["restarts"]["excused"] == ROUNDS
    for incarnation in range(2, ROUNDS + 1):
        base, following = restored(folder, incarnation), restored(folder, incarnation + 1)
        assert following == base or following.endswith(f".i{incarnation}"), "only of the chain"
        assert step_of(following) >= step_of(base), "nothing was lost"
    print(f"{ROUNDS} rounds; in {written} of them the zombie published checkpoints after its successor had begun")
    assert written >= ROUNDS / 2, "most zombies have written something that nobody may read"


def send(pids: list[int], signum: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
