"""`dtj checkpoint list|verify|export`: what people see of a job's folder, and what they take out of it."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from documented import documented
from safetensors.torch import load_file
from trainer_fixture import config_of
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env

from dtj.lineage import Lineage
from dtj_trainer.checkpoint.tensors import MODEL, load_alone
from dtj_trainer.cli import main

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that was trained by one rank without a launcher: steps 5, 10 and 14, report and model."""
    out = tmp_path_factory.mktemp("finished")
    (result,) = run_ranks(1, train_job, config_of(root, epochs=1), 0, None, True, env=work_env(out, 5))
    assert result["error"] is None
    return out


@pytest.fixture
def job(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "job"))


def listed(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, str]:
    assert main(["checkpoint", "list", str(path), "-o", "json"]) == 0
    return {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)}


FOLDER, CHECKPOINT = "/data/ner-1f0c2a9b", "step-400.i1"


def words(command: str, job: Path) -> list[str]:
    """The words after `dtj` of a command of the documentation, for this job's folder and its last checkpoint."""
    program, *rest = shlex.split(command)
    assert program == ".venv/bin/dtj"
    return [word.replace(FOLDER, str(job)).replace(CHECKPOINT, "step-14.i1") for word in rest]


def tree(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in folder.rglob("*")}


def test_all_are_listed_newest_first_with_what_they_are_good_for(job: Path, capsys) -> None:
    checkpoints = job / "checkpoints"
    (checkpoints / "step-10.i1" / "dtj.json").unlink()
    shutil.copytree(checkpoints / "step-5.i1", checkpoints / "step-7.i1.bad")
    before = tree(job)
    for path in (job, checkpoints):
        found = listed(capsys, path)
        assert list(found.items()) == [
            ("step-14.i1", "current"), ("step-10.i1", "torn"), ("step-7.i1.bad", "bad"), ("step-5.i1", "current"),
        ]  # fmt: skip
    assert main(words(documented("docs/checkpoints.md", ".venv/bin/dtj checkpoint list"), job)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["step-14.i1", "14"]
    assert tree(job) == before, "a job may run beside it"


def test_what_a_pod_wrote_that_was_given_up_is_off_the_line(job: Path, capsys) -> None:
    assert Lineage(job, "", 2).begin(lambda path: "step-14" not in path.name) is not None
    assert listed(capsys, job) == {"step-14.i1": "off the line", "step-10.i1": "current", "step-5.i1": "current"}


def test_whole_ones_are_called_whole_and_a_damaged_one_is_named_with_its_file(job: Path, capsys) -> None:
    assert main(words(documented("docs/checkpoints.md", ".venv/bin/dtj checkpoint verify"), job)) == 0
    assert capsys.readouterr().out == "step-14.i1: whole\nstep-10.i1: whole\nstep-5.i1: whole\n"
    os.truncate(job / "checkpoints/step-10.i1/trainer.json", 7)
    assert main(["checkpoint", "verify", str(job), "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {name: one["whole"] for name, one in found.items()} == {
        "step-14.i1": True, "step-10.i1": False, "step-5.i1": True,
    }  # fmt: skip
    assert found["step-10.i1"]["problems"][0].startswith("trainer.json has 7 bytes, and ")
    assert main(["checkpoint", "verify", str(job / "checkpoints" / "step-5.i1")]) == 0
    assert capsys.readouterr().out == "step-5.i1: whole\n"


def test_the_weights_of_the_best_evaluation_are_those_of_the_model(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, best = tmp_path / "model.safetensors", tmp_path / "best.safetensors"
    checkpoint = str(job / "checkpoints" / "step-14.i1")
    monkeypatch.chdir(tmp_path)
    assert main(words(documented("docs/checkpoints.md", ".venv/bin/dtj checkpoint export"), job)) == 0
    assert main(["checkpoint", "export", "--best", checkpoint, str(best)]) == 0
    model = load_file(job / "model" / "model.safetensors")
    found = load_file(best)
    assert found.keys() == model.keys() == load_file(last).keys()
    assert all(torch.equal(found[name], model[name]) for name in model)


MISTAKES = {
    "no folder": (["list", "{job}/model"], "model: found no folder `checkpoints`; give a job's folder"),
    "no checkpoint": (["verify", "{job}/checkpoints/step-99.i1"], "step-99.i1: found no such checkpoint"),
    "damaged": (
        ["export", "{job}/checkpoints/step-10.i1", "{job}/out"],
        "it is damaged (dtj-manifest.json is missing)",
    ),
    "no best": (["export", "--best", "{job}/checkpoints/step-5.i1", "{job}/out"], "found no weights of a best"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_and_nothing_is_written(job: Path, capsys, case: str) -> None:
    (job / "checkpoints" / "step-10.i1" / "dtj-manifest.json").unlink()
    arguments, says = MISTAKES[case]
    before = tree(job)
    assert main(["checkpoint", *(each.format(job=job) for each in arguments)]) == 64
    assert says in capsys.readouterr().err
    assert tree(job) == before


def test_a_folder_that_takes_no_file_is_told_without_a_traceback(job: Path, capsys) -> None:
    checkpoint = str(job / "checkpoints" / "step-14.i1")
    assert main(["checkpoint", "export", checkpoint, str(job / "nowhere" / "out")]) == 1
    said = capsys.readouterr().err
    assert "nowhere" in said
    assert "Traceback" not in said


def hide(patch: pytest.MonkeyPatch, fails: str, code: int) -> None:
    """Let a volume fail for the paths that end so. It says no to the questions of Python 3.14."""
    real = os.stat

    def stat(path, *more, **options):
        if str(path).endswith(fails):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *more, **options)

    patch.setattr(os, "stat", stat)
    for name, asks in {"exists": os.path.exists, "is_dir": os.path.isdir, "is_file": os.path.isfile}.items():
        patch.setattr(Path, name, lambda self, asks=asks: asks(self))


LOOKS = {
    "the folder of checkpoints": (["list", "{job}"], "checkpoints"),
    "a file, for its size": (["list", "{job}"], "step-5.i1/trainer.json"),
    "a checkpoint": (["verify", "{job}/checkpoints/step-5.i1"], "step-5.i1"),
    "its manifest": (["verify", "{job}/checkpoints/step-5.i1"], "step-5.i1/dtj-manifest.json"),
}


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("case", LOOKS)
def test_what_a_volume_does_not_show_is_not_taken_for_missing(
    job: Path, capsys, monkeypatch: pytest.MonkeyPatch, case: str, code: int
) -> None:
    arguments, fails = LOOKS[case]
    with monkeypatch.context() as patch:
        hide(patch, fails, code)
        assert main(["checkpoint", *(each.format(job=job) for each in arguments)]) == 1
    said = capsys.readouterr().err
    assert f"{fails}: {os.strerror(code)}" in said
    assert "Traceback" not in said


def test_tensors_that_a_volume_does_not_show_are_not_taken_for_none(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        hide(patch, "tensors/.metadata", errno.ESTALE)
        with pytest.raises(OSError, match="Stale file handle"):
            load_alone(job / "checkpoints" / "step-5.i1", MODEL)
