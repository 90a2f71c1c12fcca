"""spec.trainer: what is refused, by field and with what to write instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dtj_api.base import ManifestError, read
from dtj_api.spec import JobSpec
from dtj_api.trainer import TrainerConfig, parse_trainer

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[3] / "examples" / "ner.yaml"


def good() -> dict:
    return {
        "task": "ner",
        "model": {"path": "/m"},
        "data": {"file": "/d", "split": {"shuffleSplit": [0.8, 0.1, 0.1]}},
    }


def changed(path: str, value: object) -> dict:
    raw = good()
    *parents, last = path.split(".")
    at = raw
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = value
    return raw


REFUSED = [
    ("task", "chess", "spec.trainer.task: "),
    ("modle", 1, "spec.trainer.modle: unknown field"),
    ("model.pathh", "x", "spec.trainer.model.pathh: unknown field"),
    ("model.package", "a.b", "spec.trainer.model.package: "),
    ("data.train", "x", "file and train are both set"),
    ("data.split", None, "split is missing"),
    ("data.file", "", "train is missing"),
    ("data.split.shuffleSplit", [0.8, 0.1, 0.2], "must add up to 1"),
    ("data.split.shuffleSplit", [0.9, 0.1], "spec.trainer.data.split.shuffleSplit: "),
    ("data.scheme", "BMEWO", "spec.trainer.data.scheme: "),
    ("data.labelMap", {"x": "MISC"}, "labelMap.x is 'MISC'; allowed are O and the labels"),
    ("data.labels", ["PER", "PER"], "names a type twice"),
    ("optimizer.lr", 0, "spec.trainer.optimizer.lr: "),
    ("optimizer.lr", "fast", "spec.trainer.optimizer.lr: "),
    ("optimizer.nesterov", True, None),
    ("parallel.dataShard", 0, "dataShard is 0; allowed are -1 and 1 or more"),
    ("microBatchSize", 64, "microBatchSize is 64 and batchSize 32"),
    ("epochs", 0, "spec.trainer.epochs: "),
    ("strategy", "gossip", "spec.trainer.strategy: "),
    ("precision", "fp16", "spec.trainer.precision: "),
    ("seed", 1.5, "spec.trainer.seed: "),
]


@pytest.mark.parametrize(("path", "value", "says"), REFUSED)
def test_refused_by_field(path, value, says):
    raw = changed(path, value)
    if says is None:
        read(TrainerConfig, raw, "spec.trainer")
        raw["optimizer"]["momentum"] = 0
        says = "Nesterov's momentum needs momentum > 0"
    with pytest.raises(ManifestError) as caught:
        read(TrainerConfig, raw, "spec.trainer")
    assert says in str(caught.value)


def test_json_of_the_environment_reads_back_as_it_was():
    config = read(TrainerConfig, good(), "spec.trainer")
    assert parse_trainer(config.model_dump_json(by_alias=True)) == config
    assert parse_trainer(json.dumps(good())) == config


def test_not_json():
    with pytest.raises(ManifestError, match=r"^spec\.trainer: not JSON"):
        parse_trainer("{")


def test_the_example_is_a_valid_job():
    spec = read(JobSpec, yaml.safe_load(EXAMPLE.read_text())["spec"], "spec")
    assert (spec.workers.min_replicas, spec.workers.replicas, spec.workers.max_replicas) == (2, 3, 4)
    assert spec.trainer is not None
    assert spec.trainer.epochs <= 3
    assert spec.checkpoint is not None
    assert spec.checkpoint.every.steps
