"""Whole jobs: report, export, best weights, guards, and how a mistake of the user's ends."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from trainer_fixture import config_of, sentences, write_conll
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env

import dtj_trainer.train as entry
from dtj_api.base import read
from dtj_api.trainer import TrainerConfig
from dtj_trainer import training
from dtj_trainer.first_look import first_look
from dtj_trainer.launch.ranks.errors import describe
from dtj_trainer.parallel.world import LayoutError
from dtj_trainer.session import Session
from dtj_trainer.tasks.ner import Ner
from dtj_trainer.training import ShrunkError, SupersededError

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def job(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A sharded job of two ranks from start to end, with early stopping that ends it."""
    work = tmp_path_factory.mktemp("job")
    early = {"patience": 2, "minDelta": 0.5}
    raw = config_of(root, epochs=6, parallel={"dataShard": 2}, earlyStopping=early)
    results = run_ranks(2, train_job, raw, 0, None, True, env=work_env(work))
    assert results[0]["error"] is None
    assert results[1]["evaluations"] == results[0]["evaluations"]
    # A rank that ended before rank 0's report would start torchrun's exit barrier of 300 s.
    assert [result["reported"] for result in results] == [True, True]
    return work, results[0]


@pytest.fixture
def report(job: tuple[Path, dict]) -> dict:
    return json.loads((job[0] / "report" / "report.json").read_text())


def test_report_names_both_modes_and_holds_the_facts(report: dict) -> None:
    assert "strict" in report["test"]["strict"]["description"]
    assert "default" in report["test"]["default"]["description"]
    strict = report["test"]["strict"]
    assert strict["f1"] > 0.5
    assert sum(row["support"] for row in strict["byType"].values()) == strict["support"]
    assert report["training"]["worldSizes"] == [{"fromStep": 0, "ranks": 2}]
    assert report["data"]["splits"]["train"]["sentences"] == 112
    assert set(report["data"]["leaks"]) == {"trainDuplicates", "devInTrain", "testInTrain", "testInDev"}
    assert len(report["loss"]["steps"]) == report["training"]["steps"]


def test_page_and_pictures(job: tuple[Path, dict], report: dict) -> None:
    folder = job[0] / "report"
    page = (folder / "report.md").read_text()
    for mode in ("strict", "default"):
        assert report["test"][mode]["description"] in page
        assert f"{report['test'][mode]['f1']:.4f}" in page
    for name in ("loss.png", "types.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in page


def test_early_stopping_is_decided_once_for_all_ranks(job: tuple[Path, dict], report: dict) -> None:
    """min_delta 0.5: the third evaluation is the second in a row without enough gain, though each may be the best."""
    result = job[1]
    assert result["state"]["stopped"]
    assert report["stoppedEarly"]
    assert report["training"]["steps"] < 6 * 14
    f1s = [row["devF1Strict"] for row in result["evaluations"]]
    best = max(range(len(f1s)), key=lambda i: f1s[i])
    assert result["best"] == [f1s[best], result["evaluations"][best]["step"]]
    assert report["best"] == {"step": result["best"][1], "devF1Strict": result["best"][0]}


def test_export_loads_in_a_pipeline_with_its_labels(job: tuple[Path, dict], report: dict) -> None:
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tagger = pipeline("token-classification", model=report["model"], aggregation_strategy="simple", device="cpu")
    assert list(tagger.model.config.id2label.values())[:2] == ["O", "B-PER"]
    assert (job[0] / "model" / "model.safetensors").is_file()
    found = tagger("the anna works at initech")
    assert {(row["word"], row["entity_group"]) for row in found} >= {("anna", "PER"), ("initech", "ORG")}
    assert all(parameter.dtype == torch.float32 for parameter in tagger.model.parameters())


def exported_scores(model: Path | str, raw: dict, split: str) -> dict:
    """Strict scores of an exported model, computed without the trainer's loop."""
    from transformers import AutoModelForTokenClassification

    config = read(TrainerConfig, raw, "spec.trainer")
    task = Ner(config, first_look(config))
    with torch.no_grad():
        plain = AutoModelForTokenClassification.from_pretrained(model).eval()
        predicted = task.predict(plain, task.collate(task.examples[split]))
    return task.score(split, predicted).details["strict"]


def test_exported_weights_give_the_reported_score(root: Path, report: dict) -> None:
    assert exported_scores(report["model"], config_of(root), "test")["f1"] == report["test"]["strict"]["f1"]


def test_the_best_weights_are_shipped_when_the_last_are_worse(root: Path, tmp_path: Path) -> None:
    """The third epoch climbs the loss. Its evaluation keeps no copy, so the save after it meets gathered shards."""
    raw = config_of(root, epochs=3, parallel={"dataShard": -1})
    uphill = dict.fromkeys(range(28, 42), -1.0)
    results = run_ranks(2, train_job, raw, 0, uphill, True, env=work_env(tmp_path))
    assert results[0]["error"] is None
    best, step = results[0]["best"]
    assert step <= 28
    assert results[0]["evaluations"][-1]["devF1Strict"] < best
    assert exported_scores(tmp_path / "model", raw, "dev")["f1"] == best


def test_a_nan_is_skipped_on_all_ranks_and_counted(root: Path, tmp_path: Path) -> None:
    raw = config_of(root, epochs=1)
    poison = {3: float("nan"), 5: float("inf")}
    results = run_ranks(2, train_job, raw, 0, poison, env=work_env(tmp_path))
    for result in results:
        assert result["error"] is None
        assert result["state"] == {"step": 14, "stopped": False, "skipped": 2}
        assert result["weights"] == results[0]["weights"]
    assert all(loss == loss for step, loss, _, _ in results[0]["steps"] if step not in (4, 6))


def test_stop_ends_the_job_at_the_first_nan(root: Path, tmp_path: Path) -> None:
    raw = config_of(root, epochs=1, optimizer={"nonFinite": "stop"})
    (result,) = run_ranks(1, train_job, raw, 0, {3: float("nan")}, env=work_env(tmp_path))
    assert result["error"].startswith("NonFiniteError: step 4: loss nan")


def test_twenty_nans_in_a_row_end_the_job(root: Path, tmp_path: Path) -> None:
    raw = config_of(root, epochs=2)
    poison = dict.fromkeys(range(28), float("nan"))
    (result,) = run_ranks(1, train_job, raw, 0, poison, env=work_env(tmp_path))
    assert "20 such steps in a row. Lower optimizer.lr" in result["error"]


def test_evaluation_every_n_steps_and_at_the_end(root: Path, tmp_path: Path) -> None:
    raw = config_of(root, epochs=1, evaluate={"everySteps": 5})
    (result,) = run_ranks(1, train_job, raw, env=work_env(tmp_path))
    assert [row["step"] for row in result["evaluations"]] == [5, 10, 14]


def test_a_bad_data_file_ends_with_one_message_before_the_ranks_meet(root: Path, tmp_path: Path) -> None:
    rows = sentences(20)
    rows[3][0] = ("the", "B-FOOD")
    data = write_conll(tmp_path / "bad.conll", rows)
    line = sum(len(row) + 1 for row in rows[:3]) + 1
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_of(root, data={"file": str(data)})))
    # WORLD_SIZE 2 and nobody to meet: a rank that met first would wait and not answer.
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    error_file = tmp_path / "error.json"
    ended = subprocess.run(
        [sys.executable, "-m", "dtj_trainer.train", "--config", str(config)],
        env={"PATH": "/usr/bin:/bin", **place, **work_env(tmp_path), "TORCHELASTIC_ERROR_FILE": str(error_file)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 64
    assert f"{data}:{line}: type 'FOOD' is unknown" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "DataError" in json.loads(error_file.read_text())["message"]["message"]


@pytest.mark.parametrize(("incarnation", "error"), [("1", LayoutError), ("2", ShrunkError)])
def test_a_layout_that_does_not_fit_is_the_users_mistake_at_the_start_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, incarnation: str, error: type[Exception]
) -> None:
    """After a loss of workers it waits, by restarts, for those who may come back."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("DTJ_INCARNATION", incarnation)
    with pytest.raises(error, match="dataShard 2 x tensor 1 is not the 3 ranks") as caught:
        entry.run(read(TrainerConfig, config_of(root, parallel={"dataShard": 2}), "spec.trainer"))
    assert describe(caught.value)[2] is (error is LayoutError)


def test_a_process_that_was_given_up_leaves_model_and_report_to_the_newer_incarnation(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a node that was lost it may train to the end."""

    def given_up(session: Session) -> None:
        (tmp_path / "lineage" / "2").write_text('{"restored": null}')

    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DTJ_INCARNATION", "1")
    monkeypatch.setattr(training, "train", given_up)
    try:
        with pytest.raises(SupersededError, match="a newer incarnation"):
            entry.run(read(TrainerConfig, config_of(root), "spec.trainer"))
    finally:
        dist.destroy_process_group()
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "report").exists()
