"""What the manifest of a checkpoint costs: beside the save that it is part of, and beside a raw read of the same files.

    python tests/bench/checkpoint.py [--files 4] [--megabytes 64] [--runs 5]

One rank, files of random bytes in a folder of this machine, the page cache warm on both sides. A save writes the files,
makes them durable, sums them and publishes; the raw read has as many threads and buffers as large.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dtj
from dtj import manifest

BAR_READ, BAR_SAVE = 0.8, 0.02
BUFFER = 1 << 22


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

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, sorted(folder.glob("part-*"))))


def save(step: int, parts: list[bytes]) -> None:
    """One checkpoint."""
    with dtj.checkpoint_dir(step) as path:
        for number, part in enumerate(parts):
            (path / f"part-{number}").write_bytes(part)


def measure(folder: pathlib.Path, parts: list[bytes], runs: int) -> None:
    """Measure, interleaved, and print."""
    os.environ["DTJ_WORK_DIR"] = str(folder)
    saves, sums, verifies, reads = [], [], [], []
    for step in range(1, runs + 2):
        saves.append(timed(partial(save, step, parts)))
        made = max((folder / "checkpoints").glob("step-*"), key=lambda path: path.stat().st_mtime)
        files = manifest.files_in(made)
        sums.append(timed(partial(manifest.sums_of, made, files)))
        verifies.append(timed(partial(manifest.problems, made)))
        reads.append(timed(partial(read_raw, made)))
    # The first round warms up.
    save_, sum_, verify, read = (statistics.median(each[1:]) for each in (saves, sums, verifies, reads))
    size = sum(len(part) for part in parts) / 1e9
    share, ratio = sum_ / save_, read / verify
    cheap, quick = (("met" if good else "NOT met") for good in (share <= BAR_SAVE, ratio >= BAR_READ))
    load = os.getloadavg()[0]
    print(f"{len(parts)} files, {size:.2f} GB, {runs} runs, medians; load {load:.1f} on {os.cpu_count()} cores")
    print(f"save      {save_:7.3f} s  {size / save_:6.2f} GB/s  ({min(saves[1:]):.3f}-{max(saves[1:]):.3f})")
    print(f"manifest  {sum_:7.3f} s  {share:6.1%} of the save, bar {BAR_SAVE:.0%}: {cheap}")
    print(f"verify    {verify:7.3f} s  {size / verify:6.2f} GB/s  ({min(verifies[1:]):.3f}-{max(verifies[1:]):.3f})")
    print(f"raw read  {read:7.3f} s  {size / read:6.2f} GB/s  ({min(reads[1:]):.3f}-{max(reads[1:]):.3f})")
    print(f"verify is {ratio:.2f} x as fast as the raw read, bar {BAR_READ}: {quick}")


def main() -> None:
    """Print the figures; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path, help="on the file system to measure; default: a temporary one")
    options = parser.parse_args()
    parts = [os.urandom(options.megabytes * 1_000_000) for _ in range(options.files)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(pathlib.Path(folder), parts, options.runs)


if __name__ == "__main__":
    main()
