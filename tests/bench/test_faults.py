"""Fault -> next step on real pods: 3 workers, CPU, Gloo, from the recovery clock that users see.

    DTJ_BENCH_REPEATS=10 pytest -s tests/bench/test_faults.py

Each row is one kind of fault on one job that lives through all of them: median and worst time, the median of each
phase, steps redone, and the phases of the worst. The floor for a lost pod is a pod made by hand like a worker's, beside
the job that trains: created until its launcher answers. The peer for a killed rank comes last, in the same run: plain
torchrun with the one setting without which it does not recover in place, three agents on this machine without a
cluster. The bars, of the median and of the worst in medians, are printed and decide nothing, as machines differ.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
from e2e_jobs import Jobs, Object
from operator_process import connect, until

from dtj_api import names
from dtj_operator.kube.resources import PODS

pytestmark = pytest.mark.timeout(7200)

NAME = "own-script"
WORLD = 3
REPEATS = int(os.environ.get("DTJ_BENCH_REPEATS", "3"))
ONLY = os.environ.get("DTJ_BENCH_FAULTS", "")
"""Part of the titles of the rows wanted; empty: all."""
STEP_TIMEOUT = 4
STORE = names.store_name(NAME)
PEER = Path(__file__).with_name("recovery.py")


class Known(NamedTuple):
    """What other rows are held against, in seconds."""

    floor: float
    """A pod made by hand until its launcher answers, median."""
    rank: float
    """A killed rank until the next step, median; 0 where that row was not wanted."""


class Fault(NamedTuple):
    """One row of the table."""

    title: str
    strike: Callable[[Jobs], None]
    bar: Callable[[Known], float]
    """Seconds that the median may take."""
    spares: int = 0
    repeats: int = REPEATS


def member(jobs: Jobs, place: int) -> str:
    """The pod of a member; 0 is rank 0's."""
    return names.worker_name(NAME, jobs.job(NAME)["status"]["members"][place])


def delete(jobs: Jobs, pod: str, *how: str) -> None:
    jobs.kubectl("delete", "pod", pod, "-n", jobs.namespace, "--wait=false", *how)


def by_force(jobs: Jobs, pod: str) -> None:
    delete(jobs, pod, "--grace-period=0", "--force")


def rank(_: Known) -> float:
    return 0.7


def hang(_: Known) -> float:
    return STEP_TIMEOUT + 2.5


def store(_: Known) -> float:
    return 2.5


def pod(known: Known) -> float:
    return known.floor + 1.0


def spare(known: Known) -> float:
    return known.rank + 0.6


FAULTS = (
    Fault("rank SIGKILL", lambda jobs: jobs.kill_rank(member(jobs, 1)), rank),
    Fault("rank 0 SIGKILL", lambda jobs: jobs.kill_rank(member(jobs, 0)), rank),
    Fault(f"rank SIGSTOP, limit {STEP_TIMEOUT} s", lambda jobs: jobs.kill_rank(member(jobs, 2), signal.SIGSTOP), hang),
    Fault("store killed", lambda jobs: by_force(jobs, STORE), store),
    # One that hangs again within minutes is replaced later and later: a worker's own way to it may be what is broken.
    Fault("store SIGSTOP", lambda jobs: jobs.signal_processes(STORE, signal.SIGSTOP), store, repeats=1),
    Fault("pod deleted", lambda jobs: delete(jobs, member(jobs, 1)), pod),
    Fault("pod gone by force", lambda jobs: by_force(jobs, member(jobs, 1)), pod),
    Fault("pod deleted, spare", lambda jobs: delete(jobs, member(jobs, 1)), spare, spares=1),
    Fault("pod gone by force, spare", lambda jobs: by_force(jobs, member(jobs, 1)), spare, spares=1),
)
WORST = 2.0
"""Medians that the worst of a row may take."""


def endless(spec: Object) -> None:
    spec["workers"].update(replicas=WORLD)
    spec["workers"]["template"]["spec"]["containers"][0]["command"][-1] = "100000000"
    spec["failurePolicy"] = {"maxRestarts": 10_000, "hang": {"stepTimeout": f"{STEP_TIMEOUT}s"}}


def recovered(jobs: Jobs, before: int) -> Object:
    """Wait for one more recovery; the last one."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        status = jobs.job(NAME)["status"]
        if status.get("recovered", {}).get("count", 0) > before and status["phase"] == "Running":
            found: Object = status["recoveries"][-1]
            return found
        time.sleep(0.2)
    pytest.fail(f"it did not recover\n{jobs.story(NAME)}")


def settle(jobs: Jobs, spares: int) -> int:
    """Wait until all stand where they should; how many recoveries there were."""
    for pod in jobs.pods(NAME):
        if "deletionTimestamp" not in pod["metadata"]:
            jobs.kubectl("wait", "--for=condition=Ready", f"pod/{pod['metadata']['name']}", "-n", jobs.namespace)
    jobs.wait(NAME, f"jsonpath={{.status.workers.spare}}={spares}", 120)
    # A spare is of use once the operator has heard of it; a crash loop would be slowed down on purpose.
    time.sleep(7)
    return int(jobs.job(NAME)["status"].get("recovered", {}).get("count", 0))


def test_faults(jobs: Jobs) -> None:
    jobs.apply("own-script.yaml", endless)
    jobs.wait_for_step(NAME, 200, 300)
    faults = [fault for fault in FAULTS if ONLY in fault.title]
    settle(jobs, 0)
    by_hand = [asyncio.run(made_by_hand(jobs, number)) for number in range(REPEATS)]
    known = Known(statistics.median(by_hand), 0.0)
    rows = [f"{'floor: a pod by hand':26} median {known.floor:6.2f} s  worst {max(by_hand):6.2f} s"]
    print(rows[-1], flush=True)
    for fault in faults:
        jobs.patch(NAME, {"workers": {"spares": fault.spares}})
        seen = []
        for _ in range(fault.repeats):
            before = settle(jobs, fault.spares)
            fault.strike(jobs)
            seen.append(recovered(jobs, before))
        if fault.title == "rank SIGKILL":
            known = known._replace(rank=statistics.median(each["seconds"] for each in seen))
        rows.append(row(fault, known, seen))
        print(rows[-1], flush=True)
    status = jobs.job(NAME)["status"]
    print(
        f"\n{REPEATS} of each but the hung store; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
        + "\n".join(rows)
    )
    print(f"restarts: {status['restarts']['byCause']}")
    if "rank SIGKILL" in ONLY or not ONLY:
        beside_torchrun(jobs, known.rank)
    assert status["recovered"]["count"] == sum(fault.repeats for fault in faults), "each was counted once"


async def made_by_hand(jobs: Jobs, number: int) -> float:
    """Seconds from a pod that is made like a member's, and is none, until its launcher answers."""
    (like,) = (pod for pod in jobs.pods(NAME) if pod["metadata"]["name"] == member(jobs, 1))
    spec = {field: value for field, value in like["spec"].items() if field != "nodeName"}
    name = f"by-hand-{number}"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    async with connect(jobs.cluster.kubeconfig) as client, aiohttp.ClientSession() as session:

        async def answers() -> bool:
            address = (await client.get(PODS, jobs.namespace, name)).get("status", {}).get("podIP")
            if not address:
                return False
            try:
                async with session.get(f"http://{address}:{names.METRICS_PORT}/progress") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        started = time.monotonic()
        await client.create(PODS, jobs.namespace, pod)
        await until(answers, pause=0.02)
        took = time.monotonic() - started
    jobs.kubectl("delete", "pod", name, "-n", jobs.namespace, "--grace-period=0", "--force")
    return took


def beside_torchrun(jobs: Jobs, killed: float) -> None:
    """The same fault under plain torchrun, once our job is out of the way."""
    jobs.kubectl("delete", names.PLURAL, NAME, "-n", jobs.namespace, "--timeout=60s")
    jobs.wait_for_no_pods(NAME, 180)
    subprocess.run(
        [sys.executable, str(PEER), "--kills", str(REPEATS), "--ours", f"{killed:.3f}"], check=True, timeout=1800
    )


def row(fault: Fault, known: Known, seen: list[Object]) -> str:
    """One line of the table."""
    took = [each["seconds"] for each in seen]
    median, most, bar = statistics.median(took), max(took), fault.bar(known)
    kept = "met" if median <= bar and most <= WORST * median else "NOT met"
    phases = {
        phase: statistics.median(each["phases"].get(phase, 0.0) for each in seen) for phase in names.RecoveryPhase
    }
    redone = statistics.median(each.get("stepsRedone", 0) for each in seen)
    worst = max(seen, key=lambda each: float(each["seconds"]))["phases"]
    return (
        f"{fault.title:26} median {median:6.2f} s  worst {most:6.2f} s  bars {bar:4.2f} and {WORST * median:4.2f} s "
        f"{kept:7}  [{told(phases)}]  {redone:.0f} steps redone"
        f"  [worst: {told(worst)}]"
    )


def told(phases: Mapping[names.RecoveryPhase, float]) -> str:
    """The phases that took any time, in seconds."""
    return " ".join(f"{phase} {seconds:.2f}" for phase, seconds in phases.items() if seconds)
