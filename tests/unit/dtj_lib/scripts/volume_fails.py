"""The volume fails rank 0 when it looks at the checkpoint; every rank says what it was told, and whose fault it is."""

import os
import pathlib
import time
from unittest import mock

import torch.distributed as dist

import dtj
from dtj_trainer.launch.ranks.errors import describe

folder = pathlib.Path(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")
rank = dist.get_rank()
with dtj.checkpoint_dir(10) as path:
    (path / f"part-{rank}").write_text("x")
if rank == 0:

    def fail(self):
        raise OSError(5, "Input/output error", str(self))

    mock.patch.object(pathlib.Path, "read_bytes", fail).start()
try:
    dtj.latest_checkpoint()
except OSError as error:
    # Whatever else is raised is of a round that ends, as on a machine too busy for its heartbeats: the next one tells.
    told = f"{type(error).__name__} {getattr(error, 'errno', None)} {describe(error)[2]}"
    (folder / f"told-{rank}").write_text(told)
time.sleep(1000)
