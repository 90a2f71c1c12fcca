"""With dropout on: a job that shrinks and grows has the samples and the losses of one rank from start to end."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from trainer_fixture import config_of
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env

pytestmark = pytest.mark.unit

# 112 sentences, 8 a step: 14 steps. A save every 3 steps, cut off one step later.
EVERY, STEPS = 3, 14
SIZES = (4, 2, 3, 1, 4)
FSDP, HYBRID = {"dataShard": -1}, {"dataShard": 2, "dataReplicate": 2}
LAYOUTS: dict[str, tuple[dict, ...]] = {
    "ddp": ({}, {}, {}, {}, {}),
    "fsdp": (FSDP, FSDP, FSDP, FSDP, FSDP),
    "mixed": (HYBRID, {}, FSDP, {}, FSDP),
}


def run(world: int, raw: dict, work: Path, crash_at: int = 0, every: int = EVERY) -> list[dict]:
    return run_ranks(world, train_job, raw, crash_at, env=work_env(work, every))


@pytest.fixture(scope="module")
def whole(dropout_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """One rank, undisturbed."""
    return run(1, config_of(dropout_root, epochs=1), tmp_path_factory.mktemp("whole"), every=0)[0]


@pytest.fixture(scope="module", params=LAYOUTS)
def resized(request: pytest.FixtureRequest, dropout_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """4 -> 2 -> 3 -> 1 -> 4 ranks in one folder. Each but the last loses the step after its save."""
    work = tmp_path_factory.mktemp(request.param)
    parts = []
    for turn, (world, parallel) in enumerate(zip(SIZES, LAYOUTS[request.param], strict=True)):
        crash_at = 0 if turn == len(SIZES) - 1 else (turn + 1) * EVERY + 1
        # Shares that are cut to micro-batches as well: at 4 ranks of 2 samples each, at 1 rank eight of one.
        raw = config_of(dropout_root, epochs=1, parallel=parallel, microBatchSize=turn % 2)
        parts.append(run(world, raw, work, crash_at)[0])
    return parts


def test_losses_are_those_of_one_rank(whole: dict, resized: list[dict]) -> None:
    assert [part["start"] for part in resized] == [0, 3, 6, 9, 12]
    assert resized[-1]["world_sizes"] == [[0, 4], [3, 2], [6, 3], [9, 1], [12, 4]]
    steps = [step for part in resized[:-1] for step in part["steps"][:EVERY]] + resized[-1]["steps"]
    assert [step[0] for step in steps] == list(range(1, STEPS + 1))
    assert [step[1] for step in steps] == pytest.approx([step[1] for step in whole["steps"]], rel=0, abs=1e-5)


def test_samples_are_those_of_one_rank(whole: dict, resized: list[dict]) -> None:
    drawn = [batch for part in resized[:-1] for batch in part["batches"][:EVERY]] + resized[-1]["batches"]
    assert drawn == whole["batches"]


def test_the_step_that_was_lost_is_made_again_alike(resized: list[dict]) -> None:
    for before, after in itertools.pairwise(resized):
        assert after["steps"][0][1] == pytest.approx(before["steps"][-1][1], rel=0, abs=1e-5)


def test_dropout_is_on(whole: dict, root: Path, tmp_path: Path) -> None:
    without = run(1, config_of(root, epochs=1), tmp_path, every=0)[0]
    assert abs(without["steps"][0][1] - whole["steps"][0][1]) > 1e-3
