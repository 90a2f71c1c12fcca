"""Restores, and then saves step after step until it is killed, whether that works or not. Says each on a line of JSON.

`saves.py FILES BYTES`: how large a checkpoint is. Every second one is written by a thread.
"""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import dtj


def content(step: int, name: str, size: int) -> bytes:
    """What belongs into a file of a step."""
    return hashlib.shake_128(f"{step}/{name}".encode()).digest(size)


def write(step: int, files: int, size: int, path: Path, group: Any = None) -> None:
    """All files of a checkpoint."""
    for number in range(files):
        (path / f"part-{number}").write_bytes(content(step, f"part-{number}", size))


def save(step: int, files: int, size: int) -> None:
    """Return when it is published."""
    if step % 2:
        dtj.save_in_background(step, lambda: partial(write, step, files, size))
        dtj.wait_for_save()
    else:
        with dtj.checkpoint_dir(step) as path:
            write(step, files, size, path)


def main() -> None:
    files, size = int(sys.argv[1]), int(sys.argv[2])
    found = dtj.latest_checkpoint()
    step = int(found.name.partition(".")[0].removeprefix("step-")) if found else 0
    right = found is None or all(
        (found / f"part-{number}").read_bytes() == content(step, f"part-{number}", size) for number in range(files)
    )
    print(json.dumps({"restored": step, "right": right}), flush=True)
    while True:
        step += 1
        try:
            save(step, files, size)
        except dtj.SaveError as error:
            print(json.dumps({"failed": step, "why": str(error)}), flush=True)
        else:
            print(json.dumps({"published": step}), flush=True)


if __name__ == "__main__":
    main()
