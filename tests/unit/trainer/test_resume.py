"""A job that was cut off goes on as if it had not been: bit for bit with as many ranks, and right with any other."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from trainer_fixture import config_of
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env

from dtj import manifest

pytestmark = pytest.mark.unit

# 112 sentences, 16 a step: 7 steps an epoch. Each evaluation and the crash fall on different steps, and one evaluation
# between what is resumed from and the crash.
EVERY, CRASH, RESUMED = 6, 17, 12
JOB = {"epochs": 3, "batchSize": 16}
SAME_WORLD = {"1": (1, {}), "ddp-3": (3, {}), "fsdp-2": (2, {"parallel": {"dataShard": -1}})}


def run(world: int, raw: dict, work: Path, crash_at: int = 0, every: int = EVERY) -> list[dict]:
    return run_ranks(world, train_job, raw, crash_at, env=work_env(work, every))


@pytest.fixture(scope="module")
def undisturbed(dropout_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict]:
    """By case: the job from start to end. Its folder is no other job's."""

    @functools.cache
    def whole(case: str) -> dict:
        world, changes = SAME_WORLD[case]
        return run(world, config_of(dropout_root, **JOB, **changes), tmp_path_factory.mktemp("whole"), every=0)[0]

    return whole


@pytest.mark.parametrize("case", SAME_WORLD)
def test_resume_is_the_undisturbed_run_bit_for_bit(
    undisturbed: Callable[[str], dict], dropout_root: Path, tmp_path: Path, case: str
) -> None:
    world, changes = SAME_WORLD[case]
    raw = config_of(dropout_root, **JOB, **changes)
    whole = undisturbed(case)
    before = run(world, raw, tmp_path / "cut", crash_at=CRASH)[0]
    after = run(world, raw, tmp_path / "cut")[0]

    assert [s[0] for s in before["steps"]] == list(range(1, CRASH + 1))
    assert after["start"] == RESUMED
    assert before["steps"] == whole["steps"][:CRASH]
    assert after["steps"] == whole["steps"][RESUMED:]
    assert after["evaluations"] == whole["evaluations"]
    assert after["best"] == whole["best"]
    assert after["weights"] == whole["weights"]


MEMORY = ("ddp-3", "fsdp-2")


@pytest.fixture(scope="module")
def cut(dropout_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], dict[str, str]]:
    """Puts what a job left that kept states in memory, too, into a folder; the environment in which it goes on."""

    def env(folder: Path, incarnation: str) -> dict[str, str]:
        kept = {"DTJ_MEMORY_DIR": str(folder / "memory"), "DTJ_MEMORY_EVERY_STEPS": "2"}
        return work_env(folder / "work", EVERY) | {"DTJ_INCARNATION": incarnation, "DTJ_ROUND": "1"} | kept

    @functools.cache
    def crashed(case: str) -> Path:
        world, changes = SAME_WORLD[case]
        folder = tmp_path_factory.mktemp("cut")
        run_ranks(world, train_job, config_of(dropout_root, **JOB, **changes), CRASH, env=env(folder, "1"))
        return folder

    def copy(case: str, folder: Path) -> dict[str, str]:
        shutil.copytree(crashed(case), folder, dirs_exist_ok=True)
        return env(folder, "2")

    return copy


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "a rank's part lost"])
@pytest.mark.parametrize("case", MEMORY)
def test_what_all_ranks_hold_in_memory_is_gone_on_from_bit_for_bit(
    undisturbed: Callable[[str], dict],
    cut: Callable[[str, Path], dict[str, str]],
    dropout_root: Path,
    tmp_path: Path,
    case: str,
    lost: bool,
) -> None:
    """Step 12 is on the volume and 16 in memory; with one rank's part of it lost, 14 is."""
    world, changes = SAME_WORLD[case]
    env, whole = cut(case, tmp_path), undisturbed(case)
    if lost:
        shutil.rmtree(tmp_path / "memory" / f"step-16.i1.r1.1-{world}")
    after = run_ranks(world, train_job, config_of(dropout_root, **JOB, **changes), env=env)[0]

    assert after["start"] == (14 if lost else 16)
    assert after["steps"] == whole["steps"][after["start"] :]
    assert after["evaluations"] == whole["evaluations"]
    assert after["weights"] == whole["weights"]


@pytest.fixture(scope="module")
def resized(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """One rank from start to end, beside 2 shards -> 3 replicas -> 2 x 1 shards in the same folder."""
    work = tmp_path_factory.mktemp("resized")
    raw = config_of(root, **JOB)
    fsdp = config_of(root, **JOB, parallel={"dataShard": -1})
    return {
        "whole": run(1, raw, work / "whole", every=0)[0],
        "first": run(2, fsdp, work / "cut", crash_at=EVERY + 2)[0],
        "second": run(3, raw, work / "cut", crash_at=CRASH)[0],
        "third": run(2, fsdp, work / "cut")[0],
    }


def test_any_number_of_ranks_resumes(resized: dict[str, dict]) -> None:
    whole, parts = resized["whole"], [resized[name] for name in ("first", "second", "third")]
    assert [part["start"] for part in parts] == [0, EVERY, RESUMED]
    pieces = [*parts[0]["steps"][:EVERY], *parts[1]["steps"][:EVERY], *parts[2]["steps"]]
    assert [s[0] for s in pieces] == [s[0] for s in whole["steps"]]
    assert [s[1] for s in pieces] == pytest.approx([s[1] for s in whole["steps"]], rel=1e-3, abs=1e-5)
    assert parts[2]["world_sizes"] == [[0, 2], [EVERY, 3], [RESUMED, 2]]


def test_order_of_samples_goes_on_across_a_resize(resized: dict[str, dict]) -> None:
    drawn = [*resized["first"]["batches"][:EVERY], *resized["second"]["batches"][:EVERY], *resized["third"]["batches"]]
    assert drawn == resized["whole"]["batches"]


def test_what_differs_is_refused_and_so_are_changed_weights(root: Path, tmp_path: Path) -> None:
    raw = config_of(root, epochs=1)
    assert run(1, raw, tmp_path)[0]["error"] is None
    other = run(1, {**raw, "seed": 4}, tmp_path)[0]
    assert "was made with seed = 3, the job has 4" in other["error"]

    (newest,) = (tmp_path / "checkpoints").glob("step-14.*")
    state = json.loads((newest / "trainer.json").read_text())
    (newest / "trainer.json").write_text(json.dumps({**state, "parameterNorm": state["parameterNorm"] * 1.001}))
    # As if ranks had read other weights from sound files.
    sums = manifest.sums_of(newest, manifest.files_in(newest))
    (newest / manifest.FILE).write_bytes(manifest.to_json(sums))
    with pytest.raises(AssertionError, match=r"DamagedTensorsError: .* the restored parameters have norm"):
        run(1, raw, tmp_path)


IDENTITY = {
    "data": "43a750b7945eb0d37610854f9eb7c4bf",
    "task": "ner",
    "labels": ["PER", "ORG", "LOC"],
    "maxLength": 64,
    "batchSize": 16,
    "seed": 3,
    "model.freezeEmbeddings": False,
    "tokenizer": "103 pieces, sum eedbe435bd30",
    "optimizer.name": "adamw",
}
"""Of the checkpoints that there are, but for the model's, whose sum is torch's matter."""


def test_the_identity_of_a_checkpoint_is_that_of_those_there_are(dropout_root: Path, tmp_path: Path) -> None:
    assert run(1, config_of(dropout_root, **JOB), tmp_path, crash_at=CRASH)[0]["error"] is None
    (newest,) = (tmp_path / "checkpoints").glob(f"step-{RESUMED}.*")
    found = json.loads((newest / "trainer.json").read_text())["identity"]
    assert {name: value for name, value in found.items() if name != "model"} == IDENTITY
    assert found["model"].startswith("bert of 22,791 weights, sum ")


def test_a_finished_job_is_not_trained_again(root: Path, tmp_path: Path) -> None:
    raw = config_of(root, epochs=1)
    first = run(1, raw, tmp_path)[0]
    shutil.rmtree(tmp_path / "model", ignore_errors=True)
    again = run(2, raw, tmp_path)[0]
    assert again["steps"] == []
    assert again["weights"] == first["weights"]


@pytest.mark.parametrize("damage", ["torn", "gone", "cut", "flipped", "lost"])
def test_a_checkpoint_that_cannot_be_read_is_passed_over_for_the_one_before(
    root: Path, tmp_path: Path, damage: str
) -> None:
    raw = config_of(root, **JOB)
    assert run(1, raw, tmp_path, crash_at=CRASH)[0]["error"] is None
    (newest,) = (tmp_path / "checkpoints").glob(f"step-{RESUMED}.*")
    file = newest / "trainer.json"
    tensors = max((newest / "tensors").glob("__0_*"), key=lambda path: path.stat().st_size)
    match damage:
        case "torn":
            file.write_text(file.read_text()[:100])
        case "gone":
            (newest / "tensors" / ".metadata").unlink()
        case "cut":
            os.truncate(tensors, tensors.stat().st_size - 1)
        case "flipped":
            content = bytearray(tensors.read_bytes())
            content[len(content) // 2] ^= 1
            tensors.write_bytes(content)
        case "lost":
            tensors.unlink()

    resumed = run(1, raw, tmp_path)[0]

    assert resumed["error"] is None
    assert resumed["start"] == RESUMED - EVERY
    assert newest.with_name(f"{newest.name}.bad").exists(), "what is damaged is left for somebody to look at"


def test_with_no_checkpoint_that_can_be_read_nothing_is_trained_over_them(root: Path, tmp_path: Path) -> None:
    raw = config_of(root, **JOB)
    run(1, raw, tmp_path, crash_at=EVERY + 2)
    for found in (tmp_path / "checkpoints").glob("step-*"):
        (found / "trainer.json").write_text("{")
    for incarnation in ("2", "2", "3"):
        env = {**work_env(tmp_path, EVERY), "DTJ_INCARNATION": incarnation}
        (again,) = run_ranks(1, train_job, raw, env=env)
        assert "and there is none before it; move it away" in again["error"], "also after a restart"
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 1
