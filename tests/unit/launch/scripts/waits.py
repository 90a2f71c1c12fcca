"""Rank 1 waits for nobody after three steps, in the first round."""

import os
import pathlib
import threading
import time

import torch
import torch.distributed as dist

import dtj

round = os.environ["DTJ_ROUND"]
folder = pathlib.Path(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")


def waits_for_nobody():
    threading.Event().wait()


step = 0
while True:
    dist.all_reduce(torch.ones(1))
    step += 1
    dtj.report(step=step)
    (folder / f"began-{round}").touch()
    time.sleep(0.02)
    if round == "1" and step == 3 and dist.get_rank() == 1:
        waits_for_nobody()
