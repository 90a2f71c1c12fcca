"""Saves with torch on a volume of its own that has no room for it. Says on a line of JSON what each save raised.

`full_volume.py FOLDER`, in a mount namespace of its own.
"""

import ctypes
import json
import os
import pathlib
import sys

import torch
from torch.distributed import checkpoint as dcp

import dtj

folder = pathlib.Path(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=2m") != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
os.environ["DTJ_WORK_DIR"] = str(folder)
WEIGHTS = {"w": torch.ones(1_000_000)}


def to_path(path, group):
    """As most scripts save."""
    torch.save(WEIGHTS, path / "model.pt")


def to_file(path, group):
    """Through a file of the script's own."""
    with (path / "model.pt").open("wb") as file:
        torch.save(WEIGHTS, file)


def distributed(path, group):
    """As the built-in trainer saves."""
    dcp.save(WEIGHTS, checkpoint_id=path / "tensors", no_dist=True)


def at_once(step, write):
    """In the foreground."""
    with dtj.checkpoint_dir(step) as path:
        write(path, None)


def in_background(step, write):
    """By a thread."""
    dtj.save_in_background(step, lambda: write)
    dtj.wait_for_save()


with dtj.checkpoint_dir(1) as small:
    (small / "model.pt").write_text("x")
for step, write in enumerate((to_path, to_file, distributed), start=2):
    for save in (at_once, in_background):
        try:
            save(step, write)
            raised = "nothing"
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
        print(json.dumps([write.__name__, save.__name__, raised]), flush=True)
print(json.dumps([path.name for path in (folder / "checkpoints").iterdir() if path.name != "LATEST"]), flush=True)
