"""A job that was cut off goes on as if it had not been: bit for bit with as many ranks, and right with any other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from trainer_fixture import config_of
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env

from dtj import manifest

pytestmark = pytest.mark.unit

EVERY, CRASH, RESUMED = 20, 45, 40
# 112 sentences, 8 a step: 14 steps an epoch. Each evaluation and the crash fall on different steps.
EPOCHS = 4
SAME_WORLD = {"1": (1, {}), "ddp-3": (3, {}), "fsdp-2": (2, {"parallel": {"dataShard": -1}})}


def run(world: int, raw: dict, work: Path, crash_at: int = 0, every: int = EVERY) -> list[dict]:
    return run_ranks(world, train_job, raw, crash_at, env=work_env(work, every))


@pytest.mark.parametrize("case", SAME_WORLD)
def test_resume_after_40_steps_is_the_undisturbed_run_bit_for_bit(
    dropout_root: Path, tmp_path: Path, case: str
) -> None:
    world, changes = SAME_WORLD[case]
    raw = config_of(dropout_root, epochs=EPOCHS, **changes)
    whole = run(world, raw, tmp_path / "whole", every=0)[0]
    before = run(world, raw, tmp_path / "cut", crash_at=CRASH)[0]
    after = run(world, raw, tmp_path / "cut")[0]

    assert [s[0] for s in before["steps"]] == list(range(1, CRASH + 1))
    assert after["start"] == RESUMED
    assert before["steps"] == whole["steps"][:CRASH]
    assert after["steps"] == whole["steps"][RESUMED:]
    assert after["evaluations"] == whole["evaluations"]
    assert after["best"] == whole["best"]
    assert after["weights"] == whole["weights"]


MEMORY = {"ddp-3": SAME_WORLD["ddp-3"], "fsdp-2": SAME_WORLD["fsdp-2"]}


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "a rank's part lost"])
@pytest.mark.parametrize("case", MEMORY)
def test_what_all_ranks_hold_in_memory_is_gone_on_from_bit_for_bit(
    dropout_root: Path, tmp_path: Path, case: str, lost: bool
) -> None:
    """Step 40 is on the volume and 44 in memory; with one rank's part of it lost, 42 is."""
    world, changes = MEMORY[case]
    raw = config_of(dropout_root, epochs=EPOCHS, **changes)
    memory = tmp_path / "memory"
    kept = {"DTJ_MEMORY_DIR": str(memory), "DTJ_MEMORY_EVERY_STEPS": "2"}
    env = work_env(tmp_path / "cut", EVERY) | {"DTJ_INCARNATION": "1", "DTJ_ROUND": "1"} | kept
    whole = run(world, raw, tmp_path / "whole", every=0)[0]
    run_ranks(world, train_job, raw, CRASH, env=env)
    if lost:
        shutil.rmtree(memory / f"step-44.i1.r1.1-{world}")
    after = run_ranks(world, train_job, raw, env=env | {"DTJ_INCARNATION": "2"})[0]

    assert after["start"] == (42 if lost else 44)
    assert after["steps"] == whole["steps"][after["start"] :]
    assert after["evaluations"] == whole["evaluations"]
    assert after["weights"] == whole["weights"]


@pytest.fixture(scope="module")
def resized(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """One rank from start to end, beside 2 shards -> 3 replicas -> 2 x 1 shards in the same folder."""
    work = tmp_path_factory.mktemp("resized")
    raw = config_of(root, epochs=EPOCHS)
    fsdp = config_of(root, epochs=EPOCHS, parallel={"dataShard": -1})
    return {
        "whole": run(1, raw, work / "whole", every=0)[0],
        "first": run(2, fsdp, work / "cut", crash_at=25)[0],
        "second": run(3, raw, work / "cut", crash_at=CRASH)[0],
        "third": run(2, fsdp, work / "cut")[0],
    }


def test_any_number_of_ranks_resumes(resized: dict[str, dict]) -> None:
    whole, parts = resized["whole"], [resized[name] for name in ("first", "second", "third")]
    assert [part["start"] for part in parts] == [0, 20, 40]
    pieces = [*parts[0]["steps"][:20], *parts[1]["steps"][:20], *parts[2]["steps"]]
    assert [s[0] for s in pieces] == [s[0] for s in whole["steps"]]
    assert [s[1] for s in pieces] == pytest.approx([s[1] for s in whole["steps"]], rel=1e-3, abs=1e-5)
    assert parts[2]["world_sizes"] == [[0, 2], [20, 3], [40, 2]]


def test_order_of_samples_goes_on_across_a_resize(resized: dict[str, dict]) -> None:
    drawn = [*resized["first"]["batches"][:20], *resized["second"]["batches"][:20], *resized["third"]["batches"]]
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
    raw = config_of(root, epochs=EPOCHS)
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
    raw = config_of(root, epochs=EPOCHS)
    run(1, raw, tmp_path, crash_at=25)
    for found in (tmp_path / "checkpoints").glob("step-*"):
        (found / "trainer.json").write_text("{")
    for incarnation in ("2", "2", "3"):
        env = {**work_env(tmp_path, EVERY), "DTJ_INCARNATION": incarnation}
        (again,) = run_ranks(1, train_job, raw, env=env)
        assert "and there is none before it; move it away" in again["error"], "also after a restart"
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 1
