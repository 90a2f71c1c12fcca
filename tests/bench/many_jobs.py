"""200 jobs of 2 workers at once -> all their pods are there, beside a raw client in the same run.

    python tests/bench/many_jobs.py [--jobs 200] [--workers 2] [--runs 5] [--json FILE]

The floor creates the very same pods (each job's store included), ten requests in flight, and nothing else. The
operator's time begins with the first POST of a job, so it includes the POSTs of all of them. The bar: at most 1.5 times
the floor.

The floor makes no jobs, so a third client does what no controller can do without: POST each job, its secret, one
write of its status, and its pods.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from creation_bench import (
    IN_FLIGHT,
    RIVALS,
    Arrivals,
    Series,
    Stage,
    bare,
    clear,
    load,
    machine,
    raw,
    raw_controller,
    remove,
    stage,
)
from operator_process import a_job, everything

from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import JOBS, PODS

BAR = 1.5


async def measure(at: Stage, jobs: int, workers: int, runs: int) -> tuple[Series, Series, Series]:
    """Floor, the least that a controller must call, and operator, in turns; the first round warms up."""
    floor, least, ours = Series(), Series(), Series()
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def post(name: str) -> Object:
        async with slots:
            return await at.client.create(JOBS, at.namespace, a_job(name, workers))

    for run in range(runs + 1):
        arrivals = Arrivals(at.client, at.namespace)
        waiting = asyncio.create_task(arrivals.wait(jobs * (workers + 1), await arrivals.version()))
        before, started = load(), time.perf_counter()
        posted = await asyncio.gather(*(post(f"job-{run}-{index}") for index in range(jobs)))
        seconds = await waiting - started
        if run:
            ours.add(seconds, before)
        pods = [bare(pod) for pod in await everything(at.client, PODS, at.namespace)]
        stored = await everything(at.client, JOBS, at.namespace)
        await remove(at.client, *posted)
        before = load()
        seconds = await raw(at.client, "floor", pods)
        if run:
            floor.add(seconds, before)
        await clear(at.client, "floor")
        before = load()
        seconds = await raw_controller(at.client, "floor", stored, pods)
        if run:
            least.add(seconds, before)
        await remove(at.client, *await everything(at.client, JOBS, "floor"))
    return floor, least, ours


async def main() -> None:
    """Measure, print, and say whether the bar is met; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(f"{options.jobs} jobs x {options.workers} workers -> all pods created, seconds, median (range); {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as at:
            floor, least, ours = await measure(at, options.jobs, options.workers, options.runs)
    ratio = ours.median / floor.median
    print(f"raw client                    {floor}")
    print(f"  with jobs, keys and status  {least}")
    print(f"operator                      {ours}")
    print(f"ratio                         {ratio:7.2f}, to the longer one {ours.median / least.median:.2f}")
    print(f"load                          {min(floor.load + ours.load):.1f}-{max(floor.load + ours.load):.1f}")
    print(f"bar: ratio <= {BAR}: {'met' if ratio <= BAR else 'NOT met'}\n\n{RIVALS}")
    if options.json:
        figures = {"floor": floor.data(), "least": least.data(), "operator": ours.data(), "ratio": round(ratio, 3)}
        options.json.write_text(json.dumps({"machine": machine(), "bar": BAR, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
