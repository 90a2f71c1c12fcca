"""Saves by itself on SIGTERM, on all ranks at one step, and knows nothing of dtj; a child of it dies of the signal."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import torch
import torch.distributed as dist

folder = pathlib.Path(os.environ["TEST_FOLDER"])
asked: list[bool] = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
dist.init_process_group("gloo")
place = f"{os.environ['DTJ_INCARNATION']}-{os.environ['DTJ_ROUND']}-{dist.get_rank()}"
child = subprocess.Popen(["sleep", "1000"])
(folder / f"trains-{place}").touch()
while True:
    stop = torch.tensor(float(bool(asked)))
    dist.all_reduce(stop)
    if stop.item():
        # The first rank takes longer than the others.
        time.sleep(float(sys.argv[1]) * (2 if dist.get_rank() == 0 else 1))
        assert child.poll() is None, "a data loader died in the middle of the last step"
        (folder / f"saved-{place}").touch()
        break
    time.sleep(0.05)
child.kill()
dist.destroy_process_group()
