"""The same job at any number of ranks, sharded or not, accumulated or not, gives the same losses."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch
from trainer_fixture import config_of
from trainer_jobs import join_late, norm_over_meshes, train_job
from trainer_ranks import run_ranks, work_env

from dtj_api.base import read
from dtj_api.trainer import TrainerConfig
from dtj_trainer.first_look import first_look
from dtj_trainer.tasks.ner import Ner

pytestmark = pytest.mark.unit

# 112 training sentences: with 9 a step, neither the batches nor the shares of 2 or 3 ranks come out even.
BATCH = 9
CASES: dict[str, tuple[int, dict]] = {
    "ddp-2": (2, {}),
    "ddp-3": (3, {}),
    "fsdp-2": (2, {"parallel": {"dataShard": 2}}),
    "fsdp-all-3": (3, {"parallel": {"dataShard": -1}}),
    "hsdp-2x2": (4, {"parallel": {"dataShard": 2, "dataReplicate": 2}}),
    "accumulated-1": (1, {"microBatchSize": 2}),
    "accumulated-ddp-2": (2, {"microBatchSize": 2}),
    "accumulated-fsdp-2": (2, {"microBatchSize": 2, "parallel": {"dataShard": 2}}),
    "sgd-1": (1, {"optimizer": {"name": "sgd", "lr": 0.1}}),
    "sgd-fsdp-2": (2, {"optimizer": {"name": "sgd", "lr": 0.1}, "parallel": {"dataShard": 2}}),
    "bf16-ddp-2": (2, {"precision": "bf16"}),
    "bf16-fsdp-2": (2, {"precision": "bf16", "parallel": {"dataShard": 2}}),
}


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    work = tmp_path_factory.mktemp("parallel")
    cases = {"reference": (1, {}), **CASES}
    return {
        name: run_ranks(
            world,
            train_job,
            config_of(root, batchSize=BATCH, epochs=1, evaluate={"batchSize": 5}, **changes),
            env=work_env(work / name),
        )
        for name, (world, changes) in cases.items()
    }


def losses(result: dict) -> list[float]:
    return [loss for _, loss, _, _ in result["steps"]]


def norms(result: dict) -> list[float]:
    return [norm for _, _, norm, _ in result["steps"]]


@pytest.mark.parametrize("case", [name for name in CASES if not name.startswith(("sgd", "bf16"))])
def test_loss_and_gradient_norm_are_those_of_one_rank(results: dict, case: str) -> None:
    reference = results["reference"][0]
    assert len(losses(reference)) == 13
    assert losses(results[case][0]) == pytest.approx(losses(reference), rel=1e-5)
    assert norms(results[case][0]) == pytest.approx(norms(reference), rel=1e-4)


def test_fsdp_at_two_ranks_gives_the_loss_of_one_rank(results: dict) -> None:
    assert results["fsdp-2"][0]["sharded"] > 0
    assert losses(results["fsdp-2"][0]) == pytest.approx(losses(results["reference"][0]), rel=1e-5)


def test_sgd_shards_like_adamw(results: dict) -> None:
    assert losses(results["sgd-fsdp-2"][0]) == pytest.approx(losses(results["sgd-1"][0]), rel=1e-5)
    assert losses(results["sgd-1"][0]) != pytest.approx(losses(results["reference"][0]), rel=1e-3)


@pytest.mark.parametrize("case", ["bf16-ddp-2", "bf16-fsdp-2"])
def test_bf16_is_near_fp32_and_not_fp32(results: dict, case: str) -> None:
    found, reference = losses(results[case][0]), losses(results["reference"][0])
    assert found == pytest.approx(reference, rel=0.1)
    assert found != reference


@pytest.mark.parametrize("case", CASES)
def test_every_rank_reports_the_same_global_values(results: dict, case: str) -> None:
    first = results[case][0]
    for other in results[case][1:]:
        assert other["steps"] == first["steps"]
        assert other["evaluations"] == first["evaluations"]


@pytest.mark.parametrize("case", [name for name in CASES if "bf16" not in name])
def test_order_of_samples_does_not_depend_on_the_ranks(results: dict, case: str) -> None:
    assert results[case][0]["batches"] == results["reference"][0]["batches"]


def test_norm_and_clipping_span_meshes(tmp_path: Path) -> None:
    for found, expected, clipped, reference in run_ranks(2, norm_over_meshes, env=work_env(tmp_path)):
        assert found == pytest.approx(expected, rel=1e-6)
        assert clipped == pytest.approx(reference, rel=1e-5)


def test_loss_is_divided_by_the_global_count_of_labelled_tokens(root: Path, results: dict) -> None:
    """The first step's loss, computed here sentence by sentence; a mean of the ranks' means is another number."""
    config = read(TrainerConfig, config_of(root, batchSize=BATCH, epochs=1), "spec.trainer")
    task = Ner(config, first_look(config))
    first = [task.examples["train"][i] for i in results["ddp-2"][0]["batches"][0]]
    model = task.build_model().model.eval()
    with torch.no_grad():
        sums = [float(task.loss(model, task.collate([feature]))) for feature in first]
    tokens = [task.weight(feature) for feature in first]
    expected = sum(sums) / sum(tokens)
    of_means = statistics.mean(sum(sums[r::2]) / sum(tokens[r::2]) for r in range(2))
    assert of_means != pytest.approx(expected, rel=1e-4)
    for case in ("reference", "ddp-2", "accumulated-ddp-2", "fsdp-2"):
        assert losses(results[case][0])[0] == pytest.approx(expected, rel=1e-5)


def test_scores_count_every_sentence_once(results: dict) -> None:
    """24 dev sentences at 5 a call are 5 calls: over 2, 3 and 4 ranks some rank has none in the last turn."""
    reference = results["reference"][0]["dev"]
    assert len(reference) == 24
    for case in ("ddp-2", "ddp-3", "fsdp-2", "fsdp-all-3", "hsdp-2x2"):
        for result in results[case]:
            assert [len(row) for row in result["dev"]] == [len(row) for row in reference]
            assert result["dev"] == reference


def test_each_layer_is_a_shard_of_its_own(results: dict) -> None:
    assert results["fsdp-2"][0]["units"] == 1 + 2
    assert results["ddp-2"][0]["units"] == 0


def test_tokenised_once(results: dict) -> None:
    assert {result["tokenised"] for ranks in results.values() for result in ranks} == {3}


@pytest.mark.parametrize("late", [0, 1])
def test_a_rank_that_reads_for_longer_than_a_step_may_take_is_waited_for(tmp_path: Path, late: int) -> None:
    assert run_ranks(2, join_late, late, tmp_path, 8.0, env={}) == [2, 2]
