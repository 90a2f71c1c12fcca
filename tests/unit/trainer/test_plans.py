"""Every family of models shards and splits by its plan, and trains as one rank does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, UNPLANNED, build, loss_sum, micro, ties
from family_jobs import load, save_and_load, train_families
from trainer_ranks import run_ranks
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
)

from dtj_trainer.dropout.adapt import adapt, expect_no_other_draws
from dtj_trainer.parallel.plans.find import PLANS, head_of, plan_of, splittable
from dtj_trainer.parallel.plans.plan import Plan
from dtj_trainer.parallel.plans.units import units_of
from dtj_trainer.parallel.world import LayoutError

pytestmark = [pytest.mark.unit, pytest.mark.timeout(1200)]

TIED = [label for label, family in FAMILIES.items() if family.tied]
SPLIT = [label for label, family in FAMILIES.items() if family.kind in splittable()]
CASES: dict[str, tuple[int, dict[str, int], list[str]]] = {
    "shards-2": (2, {"dataShard": 2}, [*FAMILIES, *UNPLANNED]),
    "replicas-2": (2, {}, [*FAMILIES, *UNPLANNED]),
    "replicas-of-shards-2x2": (4, {"dataReplicate": 2, "dataShard": 2}, ["t5", "bart", "gpt2"]),
    "tensor-2": (2, {"tensor": 2}, SPLIT),
    "shards-of-tensor-2x2": (4, {"dataShard": 2, "tensor": 2}, ["llama", "qwen2", "qwen3"]),
}
PAIRS = [(case, label) for case, (_, _, labels) in CASES.items() for label in labels]


@pytest.fixture(scope="module")
def one() -> dict[str, dict[str, Any]]:
    """Each family on one rank."""
    (found,) = run_ranks(1, train_families, {}, [*FAMILIES, *UNPLANNED], env={}, deadline=500)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def results() -> dict[str, list[dict[str, dict[str, Any]]]]:
    """By case: each family on each rank."""
    return {
        case: run_ranks(world, train_families, parallel, labels, env={}, deadline=500)
        for case, (world, parallel, labels) in CASES.items()
    }


def _names_of(model: torch.nn.Module, modules: list[torch.nn.Module]) -> tuple[str, ...]:
    names = {id(module): name for name, module in model.named_modules()}
    return tuple(names[id(module)] for module in modules)


def test_every_type_with_a_plan_is_tried_here() -> None:
    assert {family.kind for family in FAMILIES.values()} == {kind for plan in PLANS for kind in plan.types}
    assert not any(plan_of(family.kind) for family in UNPLANNED.values())


@pytest.mark.parametrize("label", [*FAMILIES, *UNPLANNED])
def test_all_layers_are_found_and_each_parameter_is_in_one_unit(label: str) -> None:
    family = {**FAMILIES, **UNPLANNED}[label]
    model = build(family)
    units = units_of(model)
    assert _names_of(model, units.layers) == family.layers
    assert bool(units.told) == (label in UNPLANNED)
    owners: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        unit = next((layer for layer in family.layers if name.startswith(f"{layer}.")), "")
        owners.setdefault(id(parameter), set()).add(unit)
    assert all(len(units) == 1 for units in owners.values())
    assert set.union(*owners.values()) == {"", *family.layers}


@pytest.mark.parametrize(("case", "label"), PAIRS)
def test_losses_and_gradients_are_those_of_one_rank(one: dict, results: dict, case: str, label: str) -> None:
    """With dropout on, but for what BART drops by functions of torch."""
    expected = one[label]
    for rank in results[case]:
        found = rank[label]
        assert [loss for loss, _ in found["steps"]] == pytest.approx([loss for loss, _ in expected["steps"]], rel=1e-5)
        assert [norm for _, norm in found["steps"]] == pytest.approx([norm for _, norm in expected["steps"]], rel=1e-4)
        assert found["gradients"].keys() == expected["gradients"].keys()
        for name, gradient in expected["gradients"].items():
            np.testing.assert_allclose(found["gradients"][name], gradient, rtol=1e-4, atol=1e-6, err_msg=name)
        assert not found["drew"], "something was dropped by the rank and not by the sample"
    losses = [loss for loss, _ in expected["steps"]]
    assert len(set(losses)) == 3


@pytest.mark.parametrize(("case", "label"), PAIRS)
def test_a_model_is_sharded_by_its_layers_and_whole_when_exported(
    one: dict, results: dict, case: str, label: str
) -> None:
    family = {**FAMILIES, **UNPLANNED}[label]
    for rank in results[case]:
        assert set(rank[label]["units"]) == (set() if case == "replicas-2" else {"", *family.layers})
        assert bool(rank[label]["plain"]) == (case == "replicas-2"), "parameters that no unit has"
    assert results[case][0][label]["exported"] == pytest.approx(one[label]["exported"], rel=1e-5)


@pytest.mark.parametrize(("case", "label"), [(case, label) for case, label in PAIRS if label in TIED])
def test_what_is_tied_stays_tied(one: dict, results: dict, case: str, label: str) -> None:
    assert ties(build(FAMILIES[label])) == FAMILIES[label].tied
    for rank in [one, *results[case]]:
        assert rank[label]["tied"] == FAMILIES[label].tied


@pytest.mark.parametrize("label", ["t5", "bart", "gpt2"])
def test_a_checkpoint_of_a_tied_model_is_read_by_any_number_of_ranks(tmp_path: Path, label: str) -> None:
    for rank in run_ranks(2, save_and_load, tmp_path / "saved", label, env={}):
        saved, spoiled, loaded = rank["norms"]
        assert spoiled == 0
        assert loaded == pytest.approx(saved, rel=1e-6)
        assert rank["tied"] == FAMILIES[label].tied
    assert run_ranks(1, load, tmp_path / "saved", label, env={}) == [pytest.approx(saved, rel=1e-6)]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("deberta-v2", "sharded by the 2 layers that transformers marks (DebertaV2Layer)"),
        ("albert", "transformers marks no layers in it: each step gathers all of it at once"),
    ],
)
def test_how_a_family_without_a_plan_is_sharded_is_told_once(results: dict, label: str, says: str) -> None:
    first, second = (rank[label]["said"] for rank in results["shards-2"])
    assert first.count("\n") == 1
    assert f"there is no plan for models of type '{label}'" in first
    assert says in first
    assert second == ""
    assert {rank[label]["said"] for rank in results["replicas-2"]} == {""}
    assert {rank[label]["said"] for rank in results["shards-2"] for label in FAMILIES} == {""}


def test_a_marked_layer_that_shares_weights_is_no_unit() -> None:
    model: Any = build(UNPLANNED["deberta-v2"])
    first, second = model.deberta.encoder.layer
    assert units_of(model).layers == [first, second]
    second.output.dense.weight = first.output.dense.weight
    assert units_of(model).layers == []
    assert "all of it at once" in units_of(model).told


def test_a_plan_that_does_not_fit_is_told_and_not_guessed_over() -> None:
    with pytest.raises(LayoutError, match=r"'bert' has its layers in elsewhere or nowhere, and this BertForTok.* none"):
        Plan(types=("bert",), layers=("elsewhere", "nowhere"), split="").layers_of(build(FAMILIES["bert"]))


def test_the_head_is_what_the_family_says() -> None:
    """Where the output layer is the table of embeddings it is none, and a bare model has none."""
    tagger = {"classifier.weight", "classifier.bias"}
    heads = {
        tuple(sorted(tagger)): [
            "bert",
            "roberta",
            "xlm-roberta",
            "camembert",
            "electra",
            "distilbert",
            "mpnet",
            "t5 for tagging",
        ],
        (): ["t5", "mt5", "bart", "gpt2", "qwen2"],
        ("score.bias", "score.weight"): ["llama for tagging"],
        ("lm_head.weight",): ["llama", "qwen3"],
    }
    expected = {label: head for head, labels in heads.items() for label in labels}
    assert {label: tuple(sorted(head_of(build(family)))) for label, family in FAMILIES.items()} == expected
    config = AutoConfig.for_model("t5", vocab_size=30, **FAMILIES["t5"].config)
    reader = AutoModelForQuestionAnswering.from_config(config)
    assert head_of(reader) == {"qa_outputs.weight", "qa_outputs.bias"}
    classifier = AutoModelForSequenceClassification.from_config(config)
    assert {name.partition(".")[0] for name in head_of(classifier)} == {"classification_head"}
    assert head_of(BertModel(BertConfig(vocab_size=30, **FAMILIES["bert"].config))) == set()


def _draws_only_by_sample(label: str, **changes: Any) -> None:
    model, some = build(FAMILIES[label], **changes), micro(FAMILIES[label])
    draws = adapt(model, 0, torch.device("cpu"))
    draws.begin(0)
    draws.use(some.samples)
    still = loss_sum(model.eval(), some)
    with expect_no_other_draws(torch.device("cpu")):
        assert not torch.equal(loss_sum(model.train(), some), still), "nothing is dropped"


@pytest.mark.parametrize("label", FAMILIES)
def test_dropout_of_a_family_is_drawn_by_sample(label: str) -> None:
    _draws_only_by_sample(label)


def test_what_bart_drops_between_its_layers_is_out_of_reach_and_told() -> None:
    with pytest.warns(UserWarning, match="its loss depends on the number of ranks"):
        _draws_only_by_sample("bart", dropout=0.1)
