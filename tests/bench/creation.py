"""`kubectl apply` -> the last pod of the job is there, for several sizes, beside a raw client in the same run.

    python tests/bench/creation.py [--workers 8 64 256 1000] [--runs 5] [--json FILE]

The floor is an asynchronous client that creates the very same pods, ten requests in flight, and nothing else: no store
of status, no service, no policy, no dry run. Each round measures the floor and then the operator, on the same control
plane without nodes. The bar: the operator takes at most 1.3 times as long.
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

from creation_bench import RIVALS, Arrivals, Series, Stage, bare, clear, load, machine, raw, remove, stage
from operator_process import a_job, pods_of

from dtj_operator.kube.resources import JOBS

BAR = 1.3


async def measure(at: Stage, workers: int, runs: int) -> tuple[Series, Series]:
    """Floor and operator, alternating. The job's store pod counts as one of its pods on both sides."""
    floor, ours = Series(), Series()
    template = []
    for run in range(runs + 1):
        name, arrivals = f"job-{workers}-{run}", Arrivals(at.client, at.namespace)
        waiting = asyncio.create_task(arrivals.wait(workers + 1, await arrivals.version()))
        before, started = load(), time.perf_counter()
        job = await at.client.create(JOBS, at.namespace, a_job(name, workers))
        seconds = await waiting - started
        pods = await pods_of(at.client, job)
        if run:
            ours.add(seconds, before)
        await remove(at.client, job)
        template = [bare(pod) for pod in pods.values()]
        before = load()
        seconds = await raw(at.client, "floor", template)
        if run:
            floor.add(seconds, before)
        await clear(at.client, "floor")
    return floor, ours


async def main() -> None:
    """Measure, print, and say whether the bar is met; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64, 256, 1000])
    parser.add_argument("--runs", type=int, default=5, help="measured rounds; 3 for 1000 workers or more")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(f"apply -> all pods created, seconds, median (range); no nodes, so that all stay Pending; {machine()}")
    print("workers      raw client                 operator   ratio   load")
    results, met = {}, True
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as at:
            for workers in options.workers:
                floor, ours = await measure(at, workers, min(options.runs, 3) if workers >= 1000 else options.runs)
                ratio = ours.median / floor.median
                met = met and ratio <= BAR
                loads = f"{min(floor.load + ours.load):.1f}-{max(floor.load + ours.load):.1f}"
                print(f"{workers:7} {floor} {ours}  {ratio:6.2f}   {loads}", flush=True)
                results[workers] = {"floor": floor.data(), "operator": ours.data(), "ratio": round(ratio, 3)}
    print(f"bar: ratio <= {BAR}: {'met' if met else 'NOT met'}\n\n{RIVALS}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "bar": BAR, "workers": results}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
