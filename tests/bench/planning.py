"""What a plan costs, by the number of workers: a job that trains, one that lost a worker, one that lost its nodes.

    python tests/bench/planning.py [--workers 100 1000 9999] [--runs 5] [--json FILE]

The least of some runs, in milliseconds of the process's own time; and the size of the status. Bars: 100 ms for as many
workers as a job may have, and 40,000 bytes for 1,000.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from creation_bench import load, machine
from plan_jobs import NOW, Job, a_job, a_pod

from dtj_operator.observe.view import JobView
from dtj_operator.plan import plan


def _uid(index: int) -> str:
    """As an API server gives them: the status packs those alone."""
    return str(uuid.UUID(int=Random(index).getrandbits(128), version=4))


def _trains(count: int) -> Job:
    job = a_job().replicas(count).running()
    for index in range(count):
        job.without(index).pod(a_pod(index, uid=_uid(index)))
    return job.stored(plan(job.view()).status)


def _one_is_lost(count: int) -> Job:
    return _trains(count).without(count // 2)


def _a_node_is_lost(count: int) -> Job:
    return _trains(count).node("node-b", ready=False, not_ready_since=NOW - 60)


MILLISECONDS, STATUS = 100, 40_000
"""The bars."""
SITUATIONS: dict[str, Callable[[int], Job]] = {
    "trains": _trains,
    "lost a pod": _one_is_lost,
    "lost a node": _a_node_is_lost,
}


def _milliseconds(view: JobView, runs: int) -> float:
    least = float("inf")
    for _ in range(runs):
        began = time.process_time()
        plan(view)
        least = min(least, time.process_time() - began)
    return 1e3 * least


def main() -> int:
    """Print one line for each number of workers; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[100, 1000, 9999])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    print(f"plan(), milliseconds; {machine()}, load {load():.1f}")
    print("workers  " + "".join(f"{name:>14}" for name in SITUATIONS) + "   status, bytes")
    results = {}
    for count in asked.workers:
        figures = {
            name: round(_milliseconds(build(count).view(NOW + 1), asked.runs), 2) for name, build in SITUATIONS.items()
        }
        status = len(json.dumps(_trains(count).view().status.dump(), separators=(",", ":")))
        print(f"{count:7}  " + "".join(f"{each:14.1f}" for each in figures.values()) + f"{status:16}", flush=True)
        results[count] = {"milliseconds": figures, "status": status}
    print(f"bars: {MILLISECONDS} ms for 9999 workers, {STATUS} bytes for 1000")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine(), "load": load(), "workers": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
