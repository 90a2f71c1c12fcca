"""Thousands of launchers that answer real reports -> how old what the operator knows is, and what that costs it.

    python tests/bench/launchers.py [--shapes 4x1000 1000x2] [--seconds 60] [--json FILE]

A shape is jobs x workers. API server and operator are real processes; the launchers are fakes in this one, on loopback
addresses, and each answer is a step further. Bars: of all ages of a report, looked at twice a second, 99 of 100 are at
most two intervals; 99 of 100 reconciles take at most 1 s, from the first job on; the operator takes at most one core
while they train, and 300 MB at any time. Beside them: what this process took of a core. Near 1 it is what is slow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from creation_bench import IN_FLIGHT, Arrivals, Stage, load, machine, stage
from hostile import quantile, running
from many_launchers import Launcher, address, serve
from operator_process import a_job, edit, everything, until

from dtj_api import names
from dtj_api.metrics import OperatorMetric
from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import JOBS, PODS
from dtj_operator.observe.asking import SETTLED_INTERVAL

AGE, RECONCILE, CORES, MEMORY = 2 * SETTLED_INTERVAL, 1.0, 1.0, 300 * 10**6
"""The bars: seconds, seconds, cores, bytes."""
PATIENCE = 900.0
EVERY = 0.5
"""Seconds between two looks at all ages."""


@dataclass(frozen=True)
class Figures:
    """What was measured of one shape."""

    shape: str
    load: float
    started: float
    """Seconds from the first job to the last that trains."""
    age_median: float
    age_p99: float
    reconcile_p99: float
    cores: float
    memory: int
    fakes_cores: float

    @property
    def met(self) -> bool:
        """Whether all bars are met."""
        return self.age_p99 <= AGE and self.reconcile_p99 <= RECONCILE and self.cores <= CORES and self.memory <= MEMORY

    def __str__(self) -> str:
        return (
            f"{self.shape:>8} {self.load:5.1f} {self.started:8.0f} s {self.age_median:7.2f} s {self.age_p99:7.2f} s"
            f" <= {self.reconcile_p99:5g} s {self.cores:9.2f} {self.memory / 1e6:8.0f} MB {self.fakes_cores:9.2f}"
            f"   {'met' if self.met else 'NOT met'}"
        )


HEAD = "   shape  load   started  age p50   age p99  reconcile p99  cores   memory at most  fakes     bars"


async def _in_flight(calls: Iterable[Any]) -> None:
    """Await them, ten at once."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(call: Any) -> None:
        async with slots:
            await call

    await asyncio.gather(*map(one, calls))


async def _start(at: Stage, jobs: int, workers: int) -> list[Object]:
    """Make the jobs; the answer is their pods."""
    arrivals = Arrivals(at.client, at.namespace)
    all_there = asyncio.create_task(arrivals.wait(jobs * (workers + 1), await arrivals.version()))
    await _in_flight(at.client.create(JOBS, at.namespace, a_job(f"job-{each}", workers)) for each in range(jobs))
    await all_there
    return await everything(at.client, PODS, at.namespace)


async def _run(at: Stage, pods: list[Object]) -> None:
    """Say of all pods what a kubelet says of those that run."""

    def runs(number: int, pod: Object) -> Any:
        status = running(pod, address(number))
        name = pod["metadata"]["name"]
        return edit(at.client, PODS, at.namespace, name, lambda item: item.update(status=status), "status")

    await _in_flight(runs(number, pod) for number, pod in enumerate(pods))


async def _all_train(at: Stage) -> None:
    async def all_run() -> bool:
        jobs = await everything(at.client, JOBS, at.namespace)
        return all((job.get("status") or {}).get("phase") == names.Phase.RUNNING for job in jobs)

    await until(all_run, patience=PATIENCE, pause=2.0)


def _seconds_of(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _ages(launchers: list[Launcher], seconds: float) -> list[float]:
    """Ages of all reports, at moments that are evenly apart."""
    ages: list[float] = []
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        ages += [now - each.asked for each in launchers]
        await asyncio.sleep(EVERY)
    return sorted(ages)


async def measure(at: Stage, jobs: int, workers: int, seconds: float) -> Figures:
    """Start so many jobs, and look at them while they train."""
    began, before = time.monotonic(), load()
    pods = await _start(at, jobs, workers)
    labels = [pod["metadata"]["labels"] for pod in pods]
    launchers = {
        address(number): Launcher(pod["metadata"]["uid"], int(labels[number][names.Label.INDEX]))
        for number, pod in enumerate(pods)
        if labels[number][names.Label.COMPONENT] == names.Component.WORKER
    }
    async with serve(launchers):
        await _run(at, pods)
        await _all_train(at)
        started, pid = time.monotonic() - began, at.operator.process.pid
        theirs, ours, since = _seconds_of(pid), time.process_time(), time.monotonic()
        ages = await _ages(list(launchers.values()), seconds)
        took = time.monotonic() - since
        return Figures(
            f"{jobs}x{workers}",
            before,
            started,
            ages[len(ages) // 2],
            ages[int(0.99 * len(ages))],
            quantile(await at.operator.metrics(), OperatorMetric.RECONCILE_TIME, 0.99),
            (_seconds_of(pid) - theirs) / took,
            at.operator.peak_memory(),
            (time.process_time() - ours) / took,
        )


async def main() -> None:
    """Measure, print, and say whether the bars are met; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["4x1000", "1000x2"], metavar="JOBSxWORKERS")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"launchers that answer: jobs x workers, {asked.seconds:g} s of training each; {machine()}\n{HEAD}")
    found = []
    for shape in asked.shapes:
        jobs, workers = map(int, shape.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            async with stage(Path(folder)) as at:
                found.append(await measure(at, jobs, workers, asked.seconds))
        print(found[-1], flush=True)
    print(f"bars: age p99 <= {AGE:g} s, reconcile p99 <= {RECONCILE:g} s, {CORES:g} core, {MEMORY / 1e6:g} MB")
    if asked.json:
        figures = [{**asdict(each), "met": each.met} for each in found]
        asked.json.write_text(json.dumps({"machine": machine(), "shapes": figures}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
