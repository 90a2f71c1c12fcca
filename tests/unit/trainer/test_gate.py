"""What is refused once the ranks have met: a model that cannot be made ready, a checkpoint that is of another one."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trainer_fixture import config_of, make_model
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env
from transformers import BertConfig, BertModel

import dtj
from dtj import manifest
from dtj_trainer import session
from dtj_trainer.checkpoint import checkpointer
from dtj_trainer.checkpoint.state import TrainState
from dtj_trainer.untrainable import UntrainableError

pytestmark = pytest.mark.unit

EVERY = 6
JOB = {"epochs": 2, "batchSize": 16}


def run(world: int, raw: dict, work: Path, crash_at: int = 0) -> list[dict]:
    return run_ranks(world, train_job, raw, crash_at, env=work_env(work, EVERY))


PARTS = {
    "adapt": "model.path '{model}': the model cannot take dropout",
    "wrap": "parallel: dataReplicate -1 x dataShard 1 x tensor 1: a world of 1 cannot share the model in {model}",
    "build_optimizer": "optimizer.name 'adamw': not for the model in {model}",
}


@pytest.mark.parametrize("part", PARTS)
def test_what_fails_on_the_way_to_the_first_forward_is_told_by_its_field(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("it has no such parameter")

    monkeypatch.setattr(session, part, fail)
    model = make_model(tmp_path / "model")
    code, said, _ = job(model)
    assert code == 64
    assert PARTS[part].format(model=model) in said
    assert "TypeError: it has no such parameter" in said
    assert "Traceback" not in said


READS: dict[str, tuple[BaseException, type[BaseException] | None]] = {
    "missing key": (RuntimeError("Missing key in checkpoint state_dict: model.head.weight."), None),
    "size": (ValueError("Size mismatch between saved [2] and current: [3] for model.head.weight"), None),
    "device": (RuntimeError("CUDA error: an illegal memory access"), RuntimeError),
    "device that is not known": (RuntimeError("CUDA unknown error - this may be due to"), RuntimeError),
    "volume": (OSError(errno.ESTALE, "Stale file handle"), OSError),
    "short file": (RuntimeError("PytorchStreamReader failed reading zip archive: not a ZIP archive"), OSError),
    "bug": (TypeError("it has no such parameter"), TypeError),
}


@pytest.mark.parametrize("case", READS)
def test_of_what_fails_in_a_restore_only_what_does_not_fit_is_told_as_wrong(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The sums were right a moment ago, perhaps on another machine: what cannot be read now is the volume's."""
    error, passes = READS[case]

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(dtj, "latest_checkpoint", lambda **_: tmp_path)
    monkeypatch.setattr(TrainState, "read", lambda _, identity: (TrainState(identity), 0.0))
    monkeypatch.setattr(checkpointer, "load_tensors", fail)
    model = make_model(tmp_path / "model")
    if passes is not None:
        with pytest.raises(passes, match=re.escape(str(error))):
            job(model)
        return
    code, said, _ = job(model)
    assert (code, f"{tmp_path}: does not fit model.path {str(model)!r}" in said, str(error) in said) == (64, True, True)


def model_like(root: Path, folder: Path, seed: int = 0, **changes: int) -> str:
    """A model as the fixture makes it, with the same tokenizer, and weights and sizes of its own."""
    shutil.copytree(root / "model", folder)
    config = BertConfig.from_pretrained(folder)
    config.update(changes)
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    return str(folder)


def model_of_other_pieces(root: Path, folder: Path) -> str:
    shutil.copytree(root / "model", folder)
    text = (folder / "tokenizer.json").read_text()
    names = {'"anna"': '"boris"', '"boris"': '"anna"'}
    (folder / "tokenizer.json").write_text(re.sub("|".join(names), lambda found: names[found[0]], text))
    return str(folder)


CHANGES: dict[str, tuple[Callable[[Path, Path], dict], str]] = {
    "optimizer": (lambda *_: {"optimizer": {"name": "sgd"}}, "optimizer.name = 'adamw', the job has 'sgd'"),
    "frozen": (lambda *_: {"model": {"freezeEmbeddings": True}}, "model.freezeEmbeddings = False, the job has True"),
    "other labels": (lambda *_: {"data": {"labels": ["LOC", "ORG", "PER"]}}, "labels = ['PER', 'ORG', 'LOC']"),
    "fewer layers": (
        lambda root, to: {"model": {"path": model_like(root, to, num_hidden_layers=1)}},
        "model = 'bert of 2",
    ),
    "other weights": (lambda root, to: {"model": {"path": model_like(root, to, seed=1)}}, "model = 'bert of 2"),
    "other pieces": (lambda root, to: {"model": {"path": model_of_other_pieces(root, to)}}, "tokenizer = '"),
}


@pytest.fixture(scope="module")
def begun(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that was cut off after its first checkpoint."""
    work = tmp_path_factory.mktemp("begun")
    assert run(1, config_of(root, **JOB), work, crash_at=EVERY + 2)[0]["error"] is None
    return work


@pytest.mark.parametrize("case", CHANGES)
def test_another_model_or_optimizer_than_the_checkpoints_is_refused_with_both(
    root: Path, begun: Path, tmp_path: Path, case: str
) -> None:
    change, says = CHANGES[case]
    work = Path(shutil.copytree(begun, tmp_path / "work"))
    (found,) = run(1, config_of(root, **JOB, **change(root, tmp_path / "model")), work)
    assert found["error"].startswith("ResumeError: ")
    assert f"step-{EVERY}.i1 was made with {says}" in found["error"]
    assert "set it back or use another checkpoint path" in found["error"]


def test_the_same_model_in_another_folder_is_gone_on_from(root: Path, begun: Path, tmp_path: Path) -> None:
    work = Path(shutil.copytree(begun, tmp_path / "work"))
    model = shutil.copytree(root / "model", tmp_path / "moved")
    (found,) = run(1, config_of(root, **JOB, model={"path": str(model)}), work)
    assert (found["error"], found["start"]) == (None, EVERY)


OLDER: dict[str, tuple[int, dict, str | None]] = {
    "as it was": (1, {}, None),
    "another optimizer": (2, {"optimizer": {"name": "sgd"}}, "optimizer.name 'sgd'"),
    "no longer frozen": (1, {"model": {"freezeEmbeddings": False}}, "Missing key in checkpoint"),
}


@pytest.mark.parametrize("case", OLDER)
def test_a_checkpoint_that_names_neither_model_nor_optimizer_is_gone_on_from_where_it_fits(
    root: Path, tmp_path: Path, case: str
) -> None:
    """One of an earlier version."""
    world, changes, says = OLDER[case]
    raw = config_of(root, **JOB, model={"freezeEmbeddings": True})
    assert run(world, raw, tmp_path, crash_at=EVERY + 2)[0]["error"] is None
    (newest,) = (tmp_path / "checkpoints").glob("step-*")
    state = json.loads((newest / "trainer.json").read_text())
    for name in ("model", "model.freezeEmbeddings", "tokenizer", "optimizer.name"):
        state["identity"].pop(name, None)
    (newest / "trainer.json").write_text(json.dumps(state))
    (newest / manifest.FILE).write_bytes(manifest.to_json(manifest.sums_of(newest, manifest.files_in(newest))))
    found = run(world, config_of(root, **JOB, **{"model": {"freezeEmbeddings": True}, **changes}), tmp_path)
    if says is None:
        assert [each["error"] for each in found] == [None] * world
        assert found[0]["start"] == EVERY
        last = max((tmp_path / "checkpoints").glob("step-*"), key=lambda path: path.stat().st_mtime)
        assert json.loads((last / "trainer.json").read_text())["identity"]["optimizer.name"] == "adamw"
        return
    for each in found:
        assert each["error"].startswith("UntrainableError: ")
        assert f"{newest}: does not fit" in each["error"]
        assert says in each["error"]
        assert "Traceback" not in each["error"]


@pytest.mark.parametrize("harm", [lambda file: file.write_text(file.read_text()[:9]), Path.unlink])
def test_a_state_that_was_summed_and_is_not_seen_whole_is_not_the_users(begun: Path, tmp_path: Path, harm) -> None:
    (step,) = Path(shutil.copytree(begun, tmp_path / "work")).glob("checkpoints/step-*")
    harm(step / "trainer.json")
    with pytest.raises(OSError, match="cannot be read") as caught:
        TrainState.read(step, {})
    assert (caught.value.filename, type(caught.value)) == (str(step / "trainer.json"), OSError)
    (step / manifest.FILE).unlink()
    with pytest.raises(UntrainableError, match="did this trainer make it"):
        TrainState.read(step, {})
