"""What only a machine with an NVIDIA GPU can show: the same launcher, the same script, NCCL underneath."""

import pathlib
import sys

import pytest
import torch

from dtj_trainer.launch.local.run import run

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]
SCRIPT = pathlib.Path(__file__).parents[3] / "examples" / "scripts" / "own_script.py"


@pytest.fixture(scope="module")
def gpus():
    if not torch.cuda.is_available():
        pytest.fail("no NVIDIA GPU is here, or its driver is not: `nvidia-smi` must list one")
    return torch.cuda.device_count()


def test_the_preloaded_parent_holds_no_gpu_and_the_ranks_train_through_nccl(gpus, tmp_path):
    told = []

    assert run([sys.executable, str(SCRIPT), "--steps", "50"], 1, gpus, tmp_path / "work", {}, told.append) == 0

    (last,) = told[-1]
    assert last.world_size == gpus
    assert last.progress.step == 50
