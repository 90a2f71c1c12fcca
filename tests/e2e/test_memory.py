"""Memory limits, as the kubelet writes them and the kernel keeps them: what is killed decides what follows.

A control group of version 1 loses one process, by default the largest, which is a rank. Here the tests choose it by
the processes' own preference; a container without its launcher is gone as a whole. With version 2 the kubelet has the
whole container killed each time, unless `singleProcessOOMKill` is set: the test of a rank is for version 1.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_cluster.errors import ClusterError

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

NAME = "own-script"
FIRST, SECOND = (names.worker_name(NAME, index) for index in range(2))
LIMIT = "2Gi"
EAT = "import os; file = os.memfd_create('full'); [os.write(file, bytes(1 << 24)) for _ in range(1000)]"
"""Memory that counts against the container and belongs to no process, so that this one is not the largest."""


def limited(spec: Object) -> None:
    spec["workers"].update(replicas=2, minReplicas=2)
    container = spec["workers"]["template"]["spec"]["containers"][0]
    container["command"][-1] = "1000000"
    container["resources"] = {"limits": {"memory": LIMIT}}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def rank(jobs: Jobs, pod: str) -> int:
    """The rank of a pod, by its pid on this machine: the launcher's child has preloaded torch and forks it."""
    launcher = jobs.launcher(pod)
    (found,) = (pid for pid in jobs.processes(pod) if pid != launcher and parent(parent(pid)) == launcher)
    return found


def kill_for_memory(jobs: Jobs, pod: str, victim: int) -> None:
    """Use up the memory of a pod's container from inside; the kernel kills this process of it."""
    for pid in jobs.processes(pod):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000" if pid == victim else "0")
    with contextlib.suppress(ClusterError):
        jobs.kubectl("exec", "-n", jobs.namespace, pod, "-c", names.TRAINER_CONTAINER, "--", "python", "-c", EAT)


def uids(jobs: Jobs) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in jobs.pods(NAME)}


def test_a_container_that_is_killed_for_its_memory_is_replaced_charged_and_explained(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", limited)
    jobs.wait_for_step(NAME, 150, 180)
    before = uids(jobs)

    kill_for_memory(jobs, SECOND, jobs.launcher(SECOND))
    jobs.wait(NAME, "jsonpath={.status.restarts.byCause.OutOfMemory}=1", 180)
    jobs.wait(NAME, "jsonpath={.status.incarnation}=2", 180)
    status = jobs.wait(NAME, "jsonpath={.status.phase}=Running", 120)["status"]

    after = uids(jobs)
    assert after[FIRST] == before[FIRST]
    assert after[SECOND] != before[SECOND]
    assert status["restarts"]["byCause"] == {"OutOfMemory": 1}
    assert status["restarts"]["counted"] == 1
    assert status["restarts"].get("excused", 0) == 0
    (recovery,) = status["recoveries"]
    assert recovery["cause"] == "OutOfMemory"
    (lost,) = jobs.told(NAME, "WorkerLost")
    assert SECOND in lost
    assert "its container was killed for using more memory than its limit" in lost
    assert "goes on from step" in jobs.logs_of_ranks(NAME)
    print(f"{recovery['cause']}: {recovery['seconds']} s {recovery['phases']}")
    print(lost)


def test_a_rank_that_alone_is_killed_for_its_memory_comes_back_in_the_same_pod(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", limited)
    jobs.wait_for_step(NAME, 150, 180)
    before = uids(jobs)

    kill_for_memory(jobs, SECOND, rank(jobs, SECOND))
    jobs.wait(NAME, "jsonpath={.status.restarts.byCause.ProcessSignal}=1", 180)
    status = jobs.wait(NAME, "jsonpath={.status.phase}=Running", 120)["status"]

    assert uids(jobs) == before
    assert status["incarnation"] == 1
    assert status["restarts"]["counted"] == 1
    (failed,) = jobs.told(NAME, "RankFailed")
    assert f"on {SECOND} was ended by signal 9" in failed
