"""A second task is one file: the trainer trains, resumes, judges, reports and exports it, and knows no task by name."""

from __future__ import annotations

import json
import random
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_task import NAMES, Toy, read, train_toy
from trainer_fixture import FILLER, FIRMS, PEOPLE, PLACES, config_of
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env

import dtj_trainer
from dtj_api import base
from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.splits import load_splits
from dtj_trainer.report import write_report

pytestmark = pytest.mark.unit

# 84 texts of 120, 8 a step: 11 steps an epoch, of which the last has 4. Evaluated after 11, 22 and 33.
EVERY, CRASH, RESUMED, STEPS = 5, 18, 15, 33


@pytest.fixture(scope="module")
def raw(dropout_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    chance = random.Random(0)
    lines = []
    for _ in range(120):
        name, of = chance.choice([("people", PEOPLE), ("places", PLACES), ("firms", FIRMS)])
        words = [chance.choice(FILLER) for _ in range(chance.randint(1, 9))]
        words.insert(chance.randrange(len(words) + 1), chance.choice(of))
        lines.append(f"{' '.join(words)}\t{name}\n")
    file = tmp_path_factory.mktemp("texts") / "texts.tsv"
    file.write_text("".join(lines))
    shard = {"dataShard": -1}
    return config_of(dropout_root, data={"file": str(file)}, epochs=3, evaluate={"batchSize": 7}, parallel=shard)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def parts(raw: dict[str, Any], work: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """A job of two ranks from start to end; in another folder until it is cut off, and from there to its end."""
    alone = work_env(tmp_path_factory.mktemp("whole"))
    return {
        "whole": run_ranks(2, train_toy, raw, env=alone),
        "cut": run_ranks(2, train_toy, raw, CRASH, env=work_env(work, EVERY)),
        "resumed": run_ranks(2, train_toy, raw, 0, True, env=work_env(work, EVERY)),
    }


@pytest.fixture
def report(parts: dict, work: Path) -> dict[str, Any]:
    return json.loads((work / "report" / "report.json").read_text())


def test_it_is_trained_and_goes_on_where_it_was_cut_off_bit_for_bit(parts: dict) -> None:
    whole, resumed = parts["whole"][0], parts["resumed"][0]
    assert [result["error"] for results in parts.values() for result in results] == [None] * 6
    assert [step[0] for step in whole["steps"]] == list(range(1, STEPS + 1))
    assert whole["steps"][-1][1] < whole["steps"][0][1]
    assert resumed["start"] == RESUMED
    assert parts["cut"][0]["steps"] == whole["steps"][:CRASH]
    assert resumed["steps"] == whole["steps"][RESUMED:]
    for name in ("evaluations", "best", "weights", "dev"):
        assert resumed[name] == whole[name]
        assert parts["resumed"][1][name] == whole[name]


def test_its_own_main_score_decides(parts: dict, report: dict[str, Any]) -> None:
    """One that is below 0 from the first evaluation to the last."""
    rows = parts["resumed"][0]["evaluations"]
    assert [set(row) for row in rows] == [{"step", "epoch", "trainLoss", "devLogLikelihood", "devAccuracy"}] * 3
    best = max(rows, key=lambda row: row["devLogLikelihood"])
    assert best["devLogLikelihood"] < -1
    assert report["best"] == {"step": best["step"], "devLogLikelihood": best["devLogLikelihood"]}


def test_the_report_has_its_scores_tables_and_pictures(report: dict[str, Any], work: Path) -> None:
    assert report["task"] == "toy"
    assert report["test"]["main"] == "log likelihood"
    (table,) = report["test"]["tables"]
    assert [row[0] for row in table["rows"]] == list(NAMES)
    page = (work / "report" / "report.md").read_text()
    for row in table["rows"]:
        assert f"| {row[0]} | {row[1]:.4f} | {row[2]} |" in page
    assert f"- accuracy: {report['test']['values']['accuracy']:.4f}" in page
    assert "| split | texts \\| all |" in page, "a bar within a cell ends none"
    assert "| train | 84 |" in page
    assert "| step | epoch | train loss | dev log likelihood | dev accuracy |" in page
    assert f"best on dev: log likelihood {report['best']['devLogLikelihood']:.4f} at step" in page
    for name in ("loss.png", "recall.png"):
        assert (work / "report" / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in page


def test_an_evaluation_of_a_version_with_fewer_scores_is_shown_with_what_it_has(
    report: dict[str, Any], tmp_path: Path
) -> None:
    first, *_ = report["evaluations"]
    del first["devLogLikelihood"]
    write_report(tmp_path, report)
    row = f"| {first['step']} | 1.00 | {first['trainLoss']:.4f} |  | {first['devAccuracy']:.4f} |"
    assert row in (tmp_path / "report.md").read_text()


def test_the_export_answers_as_the_report_says(raw: dict[str, Any], report: dict[str, Any]) -> None:
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classify = pipeline("text-classification", model=report["model"], device="cpu")
    assert list(classify.model.config.id2label.values()) == list(NAMES)
    config = base.read(TrainerConfig, raw, "spec.trainer")
    task = Toy(config, load_splits(config.data, read))
    with torch.no_grad():
        predicted = task.predict(classify.model.eval(), task.collate(task.examples["test"]))
    assert task.score("test", predicted).values == pytest.approx(report["test"]["values"], rel=1e-4)


def test_a_checkpoint_of_another_task_is_refused(parts: dict, raw: dict[str, Any], root: Path, work: Path) -> None:
    data = {"file": str(root / "data.conll")}
    (found,) = run_ranks(1, train_job, {**raw, "data": {**raw["data"], **data}}, env=work_env(work))
    assert "was made with task = 'toy', the job has 'ner'" in found["error"]


TRAINER = Path(dtj_trainer.__file__).parent
MODULES = [
    *sorted(
        str(path.relative_to(TRAINER))
        for pattern in ("*.py", "checkpoint/*.py", "dropout/*.py", "parallel/**/*.py", "strategies/*.py")
        for path in TRAINER.glob(pattern)
    ),
    *("cli/run.py", "data/locate.py", "data/sampler.py", "data/splits.py", "data/stream.py"),
]
OF_A_TASK = re.compile(
    r"f1(?!\d)|seqeval|token_?classification|(?<![a-z])(ner|tags?|entity|entities)(?![a-z])", re.IGNORECASE
)
MAY = {"checkpoint/state.py": {"f1"}}
"""What has to know a name, for it stands in files that there are."""


@pytest.mark.parametrize("module", MODULES)
def test_what_every_task_goes_through_names_none(module: str) -> None:
    named = {found[0].lower() for found in OF_A_TASK.finditer((TRAINER / module).read_text())}
    assert named == MAY.get(module, set())


def test_the_table_is_whole() -> None:
    assert {"training.py", "loop.py", "evaluate.py", "report.py", "plots.py", "export.py", "checkpoint/state.py"} <= {
        *MODULES
    }


FOUND = ("best_f1", "devF1Strict", "Ner(", "tag_ids", "entity", "AutoModelForTokenClassification")


@pytest.mark.parametrize("text", FOUND)
def test_the_search_finds(text: str) -> None:
    assert OF_A_TASK.search(text)


@pytest.mark.parametrize("text", ["stage", "inner", "owners", "identity", "bf16"])
def test_the_search_leaves_alone(text: str) -> None:
    assert not OF_A_TASK.search(text)
