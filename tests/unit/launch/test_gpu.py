"""What only a machine with an NVIDIA GPU can show: the same launcher, the same script, NCCL underneath."""

import contextlib
import os
import pathlib
import sys

import pytest
import torch

from dtj_trainer.launch.local.run import run
from dtj_trainer.launch.ranks.process import children

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]
SCRIPT = pathlib.Path(__file__).parents[3] / "examples" / "scripts" / "own_script.py"
CUDA = "/dev/nvidia-uvm"
"""What CUDA opens in a process when it is initialised, and NVML does not."""


@pytest.fixture(scope="module")
def gpus():
    if not torch.cuda.is_available():
        pytest.fail("no NVIDIA GPU is here, or its driver is not: `nvidia-smi` must list one")
    return torch.cuda.device_count()


def holders(device: str, pid: int) -> set[int]:
    """The descendants of a process that have a device open."""
    found = set()
    for child in children(pid):
        # It may end meanwhile.
        with contextlib.suppress(OSError):
            if any(os.readlink(fd) == device for fd in pathlib.Path(f"/proc/{child}/fd").iterdir()):
                found.add(child)
        found |= holders(device, child)
    return found


def test_the_preloaded_parent_holds_no_gpu_and_the_ranks_train_through_nccl(gpus, tmp_path):
    told, hold = [], set()

    def look(reports):
        told.append(reports)
        hold.update(holders(CUDA, os.getpid()))

    assert run([sys.executable, str(SCRIPT), "--steps", "50"], 1, gpus, tmp_path / "work", {}, look) == 0

    (last,) = told[-1]
    assert last.world_size == gpus
    assert last.progress.step == 50
    assert len(hold) == gpus, "the ranks do, and neither their launcher nor the process that they are forked from"
