"""What saves cost, beside plain `torch.save` and plain DCP, and what a manifest costs beside a raw read of the files.

    python tests/bench/checkpoint.py [--ranks 2] [--hidden 256] [--layers 4] [--batch 8] [--steps 20] [--runs 5]

Ranks of one machine, a thread each, on Gloo; a save every so many steps; blocks of steps with a save of each kind take
turns, so that the noise of the machine meets all of them. The raw read has as many threads and buffers as large as the
check of a checkpoint, and the page cache is warm for both. The checkpoint holds weights and AdamW's state.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))

from checkpoint_bench import compare
from trainer_ranks import run_ranks, work_env

from dtj import manifest

BAR_STALL, BAR_READ, BAR_SAVE = 1.05, 0.8, 0.02
BUFFER, THREADS = 1 << 20, 4


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def read_raw(folder: pathlib.Path) -> None:
    """Read all files and do nothing with them."""

    def read(path: pathlib.Path) -> None:
        buffer = bytearray(BUFFER)
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, [folder / name for name in manifest.files_in(folder)]))


def verify(folder: pathlib.Path, runs: int) -> dict[str, float]:
    """Medians of a check and of a raw read, which take turns."""
    checks, reads = [], []
    for _ in range(runs + 1):
        checks.append(timed(lambda: manifest.problems(folder)))
        reads.append(timed(lambda: read_raw(folder)))
    return {"verify": statistics.median(checks[1:]), "read": statistics.median(reads[1:])}


def show(found: dict[str, Any], options: argparse.Namespace) -> None:
    """For people."""
    load = os.getloadavg()[0]
    print(f"{options.ranks} ranks, {found['bytes'] / 1e6:.0f} MB a checkpoint, a save every {options.steps} steps")
    print(f"medians of {options.runs}; load {load:.1f} on {os.cpu_count()} cores")
    print(f"{'save':18s}{'step':>9s}  {'(range)':17s}{'of none':>8s}{'stall':>9s}")
    for name, row in found["kinds"].items():
        spread = f"({row['least']:.3f}-{row['most']:.3f})"
        print(f"{name:18s}{row['step']:8.3f}s  {spread:17s}{row['ratio']:8.3f}{row['stall']:8.3f}s")
    for name in ("save", "save without manifest", "verify", "read"):
        print(f"{name:22s}{found[name]:8.3f}s")
    for text, value, good in found["bars"]:
        print(f"{text}: {value:.3f}, {'met' if good else 'NOT met'}")


def measure(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """All figures, from one run."""
    shape = (options.hidden, options.layers, options.batch, options.steps, options.runs)
    answer = run_ranks(options.ranks, compare, *shape, env=work_env(folder, 0), deadline=3600)[0]
    kinds = {}
    for name, blocks in answer["blocks"].items():
        steps = [step for step, _ in blocks]
        # Neighbours meet the same noise.
        ratios = [step / base for step, (base, _) in zip(steps, answer["blocks"]["none"], strict=True)]
        stall = statistics.median(stalled for _, stalled in blocks)
        kinds[name] = {"step": statistics.median(steps), "least": min(steps), "most": max(steps)}
        kinds[name] |= {"ratio": statistics.median(ratios), "stall": stall}
    reads = verify(pathlib.Path(answer["seen"]), 5 * options.runs)
    whole, bare = (statistics.median(times) for times in zip(*answer["manifest"], strict=True))
    share, quick = (whole - bare) / whole, reads["read"] / reads["verify"]
    stalled = kinds["dtj"]["ratio"]
    bars = [
        (f"step with a save / without, bar {BAR_STALL}", stalled, stalled <= BAR_STALL),
        (f"manifest / save, bar {BAR_SAVE}", share, share <= BAR_SAVE),
        (f"verify / raw read (speed), bar {BAR_READ}", quick, quick >= BAR_READ),
    ]
    reads |= {"save": whole, "save without manifest": bare}
    return {"bytes": answer["bytes"], "kinds": kinds, **reads, "bars": bars}


def main() -> None:
    """Print the figures; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("ranks", 2), ("hidden", 256), ("layers", 4), ("batch", 8), ("steps", 20), ("runs", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=pathlib.Path, help="on the file system to measure; default: a temporary one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(options, pathlib.Path(folder))
    if options.json:
        print(json.dumps(found))
    else:
        show(found, options)


if __name__ == "__main__":
    main()
