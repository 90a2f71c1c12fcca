"""200 jobs of 2 workers at once -> all their pods are there, beside a raw client in the same run.

    python tests/bench/many_jobs.py [--jobs 200] [--workers 2] [--runs 5] [--json FILE]

The floor makes the very same objects, ten requests in flight: each job, one write of its status, its key, service,
policy and pods (its store included). The operator's time begins with the first POST of a job. Bare pods and nothing
else are printed beside. The bar: at most 1.3 times the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from creation_bench import BAR, IN_FLIGHT, RIVALS, Sides, Stage, machine, stage
from operator_process import a_job

from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import JOBS


async def measure(at: Stage, jobs: int, workers: int, runs: int) -> Sides:
    """All sides, in turns; the first round warms up."""
    sides = Sides()
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(name: str) -> Object:
        async with slots:
            return await at.client.create(JOBS, at.namespace, a_job(name, workers))

    for run in range(runs + 1):

        async def post(run: int = run) -> list[Object]:
            return await asyncio.gather(*(one(f"job-{run}-{index}") for index in range(jobs)))

        await sides.turn(at, jobs * (workers + 1), post, warms_up=run == 0)
    return sides


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
            sides = await measure(at, options.jobs, options.workers, options.runs)
    print(f"bare pods         {sides.pods_alone}")
    print(f"the same objects  {sides.floor}")
    print(f"operator          {sides.ours}")
    print(f"ratio             {sides.ratio:7.2f}")
    print(f"load              {sides.loads}")
    print(f"bar: ratio <= {BAR}: {'met' if sides.ratio <= BAR else 'NOT met'}\n\n{RIVALS}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "bar": BAR, **sides.data()}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
