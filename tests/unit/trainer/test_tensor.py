"""Layers that ranks compute together: the job, its checkpoints and its model are those of one rank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tensor_jobs import first_gradients, split_every_family
from trainer_fixture import config_of
from trainer_jobs import train_job
from trainer_ranks import run_ranks, work_env
from transformers import (
    BartConfig,
    BertConfig,
    BigBirdConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    T5Config,
)

import dtj_trainer.train as entry
from dtj_api.base import read
from dtj_api.trainer import TrainerConfig
from dtj_trainer import training
from dtj_trainer.parallel.plans.find import splittable
from dtj_trainer.parallel.tensor import expect_splittable
from dtj_trainer.parallel.world import LayoutError

pytestmark = pytest.mark.unit

# 112 training sentences, 28 a step: 4 steps an epoch.
SHORT: dict[str, Any] = {"epochs": 1, "batchSize": 28, "evaluate": {"batchSize": 5}, "optimizer": {"lr": 1e-3}}
CASES: dict[str, tuple[int, dict]] = {
    "tensor-2": (2, {"parallel": {"tensor": 2}}),
    # Each of the two replicas has 14 sentences a step: micro-batches of 5, 5 and 4.
    "accumulated-replicas-2x2": (4, {"microBatchSize": 5, "parallel": {"tensor": 2}}),
    "bf16-tensor-2": (2, {"precision": "bf16", "parallel": {"tensor": 2}}),
}

EXPORTED = ("one", "accumulated-replicas-2x2")
"""Cases that write model and report, too."""


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[dict]]]:
    """By case, and of one rank: the job's folder and what its ranks saw."""
    work = tmp_path_factory.mktemp("tensor")
    found = {}
    for name, (world, changes) in {"one": (1, {}), **CASES}.items():
        raw, env = config_of(root, **SHORT, **changes), work_env(work / name)
        found[name] = (work / name, run_ranks(world, train_job, raw, 0, None, name in EXPORTED, env=env))
    return found


def _column(result: dict, which: int) -> list[float]:
    return [step[which] for step in result["steps"]]


@pytest.mark.parametrize("case", ["tensor-2", "accumulated-replicas-2x2"])
def test_loss_gradient_norm_and_predictions_are_those_of_one_rank(results: dict, case: str) -> None:
    (one,), ranks = results["one"][1], results[case][1]
    assert len(one["steps"]) == 4
    for rank in ranks:
        assert rank["error"] is None
        assert rank["reported"] == (case in EXPORTED)
        assert rank["steps"] == ranks[0]["steps"]
        assert rank["batches"] == one["batches"]
        assert _column(rank, 1) == pytest.approx(_column(one, 1), rel=1e-5)
        assert _column(rank, 2) == pytest.approx(_column(one, 2), rel=1e-5)
        assert rank["evaluations"] == ranks[0]["evaluations"]
        assert rank["dev"] == one["dev"]


def test_bf16_is_near_fp32_and_not_fp32(results: dict) -> None:
    one, found = results["one"][1][0], results["bf16-tensor-2"][1][0]
    assert _column(found, 1) == pytest.approx(_column(one, 1), rel=0.02)
    assert _column(found, 1) != pytest.approx(_column(one, 1), rel=1e-5)


def test_the_exported_model_is_that_of_one_rank(results: dict) -> None:
    expected, found = (load_file(results[name][0] / "model" / "model.safetensors") for name in EXPORTED)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-5, err_msg=name)


def test_gradients_of_what_is_not_split_are_the_same_bits_in_all_ranks_of_a_tensor_group(
    root: Path, tmp_path: Path
) -> None:
    raw = config_of(root, **{**SHORT, "optimizer": {"maxGradNorm": 0}})
    (one,) = run_ranks(1, first_gradients, raw, env=work_env(tmp_path / "one"))
    four = {**raw, "parallel": {"tensor": 2, "dataShard": 2}}
    ranks = run_ranks(4, first_gradients, four, env=work_env(tmp_path / "four"))

    alike = {name for name in one if ranks[0][name]["alike"]}
    assert {name.split(".")[-2] for name in alike} == {
        *("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm", "classifier", "dense")
    }
    assert {name for name in alike if ".dense." in name} == {
        f"bert.encoder.layer.{layer}.{part}output.dense.bias" for layer in range(2) for part in ("", "attention.")
    }
    for first in (0, 2):
        for name, gradient in ranks[first].items():
            same = gradient["local"] == ranks[first + 1][name]["local"]
            assert same == (name in alike), name
    for rank in ranks:
        for name, gradient in one.items():
            np.testing.assert_allclose(rank[name]["whole"], gradient["whole"], rtol=0, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def reshaped(dropout_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict], list[dict]]:
    """With dropout, one rank from start to end, beside a job whose parts have other layouts; and their last states."""
    work = tmp_path_factory.mktemp("reshaped")
    raw = config_of(dropout_root, epochs=4, batchSize=16, optimizer={"lr": 1e-3}, evaluate={"everySteps": 6})
    parts = [(2, {}, 8), (2, {"tensor": 2}, 15), (4, {"tensor": 2, "dataShard": 2}, 22), (1, {}, 0)]
    whole = run_ranks(1, train_job, raw, env=work_env(work / "whole"))[0]
    found = [
        run_ranks(world, train_job, {**raw, "parallel": parallel}, crash, env=work_env(work / "parts", 7))[0]
        for world, parallel, crash in parts
    ]
    states = []
    for name in ("whole", "parts"):
        (newest,) = (work / name / "checkpoints").glob("step-28.*")
        states.append(json.loads((newest / "trainer.json").read_text()))
    return whole, found, states


def test_a_job_goes_on_from_replicas_to_a_tensor_group_to_both_to_one_rank(reshaped: tuple) -> None:
    whole, parts, _ = reshaped
    assert [part["error"] for part in parts] == [None] * 4
    assert parts[-1]["world_sizes"] == [[0, 2], [7, 2], [14, 4], [21, 1]]
    steps = [*parts[0]["steps"][:7], *parts[1]["steps"][:7], *parts[2]["steps"][:7], *parts[3]["steps"]]
    assert [step[0] for step in steps] == list(range(1, 29))
    assert [step[1] for step in steps] == pytest.approx([step[1] for step in whole["steps"]], rel=1e-5)
    assert [step[2] for step in steps] == pytest.approx([step[2] for step in whole["steps"]], rel=1e-4)


def test_weights_best_weights_and_scores_are_those_of_the_undisturbed_job(reshaped: tuple) -> None:
    whole, parts, (expected, found) = reshaped
    assert found["parameterNorm"] == pytest.approx(expected["parameterNorm"], rel=1e-6)
    assert parts[-1]["best"] == whole["best"]
    assert parts[-1]["dev"] == whole["dev"]
    assert [row["step"] for row in found["evaluations"]] == [6, 12, 18, 24, 28]
    for one, other in zip(found["evaluations"], expected["evaluations"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


PARTS = {"llama": 7, "qwen2": 7 + 3, "qwen3": 7 + 2}
"""Parameters of a layer that are split or summed over: Llama has no biases, Qwen2 three, Qwen3 two norms of heads."""


def test_every_family_is_split_right_and_heads_are_numbered_as_in_the_model() -> None:
    ranks = run_ranks(2, split_every_family, env={})
    for kind in splittable():
        for rank, found in enumerate(ranks):
            assert found[kind]["difference"] < 1e-5 < 1e-2 < found[kind]["spread"], kind
            assert found[kind]["first heads"] == [2 * rank, 2 * rank], kind
            # An encoder: weight and bias of six linear maps in each of the two layers.
            assert found[kind]["parts"] == 2 * PARTS.get(kind, 2 * 6), kind
            # In each layer one after the attention and one after the feed forward, there and back.
            assert found[kind]["sums"] == [2 * 2, 2 * 2], kind


@pytest.mark.parametrize(
    ("config", "tensor", "says"),
    [
        (
            BigBirdConfig(),
            2,
            r"parallel\.tensor: is 2, .* of type 'big_bird' cannot be split; allowed are 1, or .* bert",
        ),
        (
            BertConfig(),
            5,
            r"parallel\.tensor: 5 does not divide both .* 12 attention heads .*allowed are 1, 2, 3, 4, 6",
        ),
        (
            DistilBertConfig(n_heads=12, hidden_dim=50),
            4,
            r"12 attention heads \(n_heads .* 50 \(hidden_dim\).* are 1, 2$",
        ),
        (T5Config(), 2, r"of type 't5' cannot be split: the biases of positions, .* of type bert, .* llama"),
        (BartConfig(), 2, r"of type 'bart' cannot be split: nobody has planned"),
        (GPT2Config(), 2, r"of type 'gpt2' cannot be split: its queries, keys and values come from one matrix"),
        (
            LlamaConfig(num_attention_heads=32, num_key_value_heads=4, intermediate_size=96),
            8,
            r"8 does not divide all of the model's 32 attention heads .*, its 4 heads of keys \(num_key_value_heads\) "
            r"and its inner width 96 \(intermediate_size\); allowed are 1, 2, 4$",
        ),
    ],
)
def test_a_model_that_cannot_be_split_is_refused_by_field(config: Any, tensor: int, says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        expect_splittable(config, tensor)


ODD = {"norm": "of no matter", "layers.*.self_attn.q_proj": "by_the_moon"}


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (ODD, r"splits layers\.\*\.self_attn\.q_proj of .* 'llama' as 'by_the_moon', and known are colwise"),
        ({}, r"has no plan for the layers of a model of type 'llama'; write 1$"),
    ],
)
def test_a_plan_of_transformers_that_is_not_understood_is_refused(
    monkeypatch: pytest.MonkeyPatch, plan: dict[str, str], says: str
) -> None:
    """As another version may have it."""
    monkeypatch.setattr(LlamaConfig, "base_model_tp_plan", plan)
    with pytest.raises(LayoutError, match=r"^parallel\.tensor: transformers \d.*" + says):
        expect_splittable(LlamaConfig(), 2)


def test_it_is_refused_before_the_ranks_meet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model has 2 heads."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(training, "join", lambda *_: pytest.fail("ranks met"))
    with pytest.raises(LayoutError, match=r"4 does not divide .* 2 attention heads .*allowed are 1, 2$"):
        entry.run(read(TrainerConfig, config_of(root, parallel={"tensor": 4}), "spec.trainer"))
