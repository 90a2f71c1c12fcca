"""The script's own process group passes nothing on (torch's fake one): what ranks agree on goes another way."""

import json
import os
import pathlib

import torch
import torch.distributed as dist
from torch.testing._internal.distributed import fake_pg

import dtj
from dtj.memory import Memory

assert fake_pg.FakeStore
folder = pathlib.Path(os.environ["TEST_FOLDER"])
os.environ["DTJ_MEMORY_DIR"] = str(folder / "memory")
store, number, world = next(dist.rendezvous("env://"))
dist.init_process_group("fake", store=store, rank=number, world_size=world)
rank = dist.get_rank()
word = torch.tensor([rank])
dist.all_reduce(word)
assert word.item() == rank, "nobody hears anybody in this group"

restored = dtj.latest_checkpoint(memory=Memory())
saved = []


def stage():
    """Write a file, by a collective of the save's own."""

    def write(path, group):
        names = [None, None]
        dist.all_gather_object(names, f"of rank {rank}", group=group)
        (path / f"part-{rank}").write_text(" ".join(names))

    return write


for step in range(1, 10):
    if rank == 1:
        dtj.report(step=step)
    if dtj.should_save():
        saved.append(step)
        if step == 4:
            dtj.save_in_background(step, stage)
            dtj.wait_for_save()
        else:
            with dtj.checkpoint_dir(step, best=step == 2) as path:
                (path / f"part-{rank}").write_text("x")
found = [path.name for path in (dtj.latest_checkpoint(), dtj.best_checkpoint())]
(folder / f"told-{rank}").write_text(json.dumps([restored, saved, found]))
dtj.done()
