"""`kubectl apply` -> the last pod of the job is there, for several sizes, beside a raw client in the same run.

    python tests/bench/creation.py [--workers 8 64 256 1000] [--runs 5] [--json FILE]

The floor is an asynchronous client that makes the very same objects (job, status, key, service, policy, pods), ten
requests in flight. Bare pods and nothing else are printed beside. Each round measures the operator, the floor and the
bare pods, on the same control plane without nodes. The bar: the operator takes at most 1.3 times as long as the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from creation_bench import BAR, RIVALS, Sides, Stage, machine, stage
from operator_process import a_job

from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import JOBS


async def measure(at: Stage, workers: int, runs: int) -> Sides:
    """All sides, in turns. The job's store pod counts as one of its pods on all of them."""
    sides = Sides()
    for run in range(runs + 1):

        async def post(name: str = f"job-{workers}-{run}") -> list[Object]:
            return [await at.client.create(JOBS, at.namespace, a_job(name, workers))]

        await sides.turn(at, workers + 1, post, warms_up=run == 0)
    return sides


async def main() -> None:
    """Measure, print, and say whether the bar is met; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64, 256, 1000])
    parser.add_argument("--runs", type=int, default=5, help="measured rounds; 3 for 1000 workers or more")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(f"apply -> all pods created, seconds, median (range); no nodes, so that all stay Pending; {machine()}")
    print("workers       bare pods        the same objects                operator   ratio   load")
    results, met = {}, True
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as at:
            for workers in options.workers:
                runs = min(options.runs, 3) if workers >= 1000 else options.runs
                sides = await measure(at, workers, runs)
                met = met and sides.ratio <= BAR
                times = f"{sides.pods_alone} {sides.floor} {sides.ours}"
                print(f"{workers:7} {times}  {sides.ratio:6.2f}   {sides.loads}", flush=True)
                results[workers] = sides.data()
    print(f"bar: ratio <= {BAR}: {'met' if met else 'NOT met'}\n\n{RIVALS}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "bar": BAR, "workers": results}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
