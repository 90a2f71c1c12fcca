"""Dropout by sample: what it draws depends on seed, step, sample, module and element, and on nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel

from dtj_trainer.dropout import draws as drawing
from dtj_trainer.dropout.adapt import ATTENTION, adapt, expect_no_other_draws
from dtj_trainer.dropout.bits import drop, mix
from dtj_trainer.dropout.draws import Draws, SampleDropout

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
    },
    "t5": {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_kv": 8, "d_ff": 32},
}


def model_of(kind: str = "bert", **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=50, num_labels=3, **SIZES[kind], **changes)
    return AutoModelForTokenClassification.from_config(config).train()


def draws_for(samples: list[int], step: int = 0, seed: int = 0, names: tuple[str, ...] = ("a", "b")) -> Draws:
    draws = Draws(seed, names, CPU)
    draws.begin(step)
    draws.use(torch.tensor(samples))
    return draws


def kept(shape: tuple[int, ...], p: float, samples: list[int], site: int = 0, **more: Any) -> torch.Tensor:
    """Mask of ones and zeros, shape (samples, *shape)."""
    dropped = draws_for(samples, **more).drop(torch.ones(len(samples), *shape), site, p)
    mask = dropped * (1 - p)
    assert torch.all((mask.round() - mask).abs() < 1e-6), "an element is 0 or 1 / (1 - p)"
    return mask.round()


def lowbias32(x: int) -> int:
    for by, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x ^= x >> by
        x = x * factor % 2**32
    return x


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=70))
def test_the_hash_is_the_published_one(values: list[int]) -> None:
    found = mix(torch.tensor(values).to(torch.int32))
    assert [value % 2**32 for value in found.tolist()] == [lowbias32(value) for value in values]


SAMPLES = st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True)


@settings(deadline=None)
@given(samples=SAMPLES, data=st.data(), shape=st.lists(st.integers(1, 7), max_size=3))
def test_a_mask_depends_on_the_sample_alone(samples: list[int], data: st.DataObject, shape: list[int]) -> None:
    """Not on its row, not on who else is there, not on how far anything is padded."""
    step, site = data.draw(st.integers(0, 10**6)), data.draw(st.integers(0, 1))
    longer = tuple(length + data.draw(st.integers(0, 3)) for length in shape)
    together = kept(longer, 0.5, samples, site, step=step)
    for row, sample in enumerate(samples):
        alone = kept(tuple(shape), 0.5, [sample], site, step=step)[0]
        assert torch.equal(together[row][tuple(slice(length) for length in shape)], alone)


@settings(max_examples=15, deadline=None)
@given(samples=SAMPLES, data=st.data())
def test_so_does_what_a_model_says_in_training(samples: list[int], data: st.DataObject) -> None:
    model = model_of(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    draws = adapt(model, 1, CPU)
    draws.begin(5)
    lengths = [data.draw(st.integers(1, 9)) for _ in samples]
    ids = torch.zeros(len(samples), max(lengths) + data.draw(st.integers(0, 3)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
        ids[row, :length] = torch.arange(sample, sample + length) % 50
        mask[row, :length] = 1
    draws.use(torch.tensor(samples))
    together = model(input_ids=ids, attention_mask=mask).logits
    for row, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
        draws.use(torch.tensor([sample]))
        alone = model(input_ids=ids[row : row + 1, :length]).logits[0]
        torch.testing.assert_close(together[row, :length], alone, rtol=0, atol=1e-5)


P_CASES = [0.01, 0.1, 0.5, 0.9]
SHAPES = {"hidden": (32, 128), "attention": (4, 32, 32), "pooled": (4096,)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("p", P_CASES)
def test_as_much_is_kept_as_asked_for(shape: tuple[int, ...], p: float) -> None:
    """In all, and for each sample, row and column spread as independent draws would be."""
    mask = kept(shape, p, list(range(64))).flatten(1)
    sigma = math.sqrt(p * (1 - p))
    assert abs(float(mask.mean()) - (1 - p)) < 5 * sigma / math.sqrt(mask.numel())
    for name, one in (("samples", mask), ("places", mask.T)):
        # Squared deviations of n counts, in units of a draw's variance, have mean 1 and variance near 2 / n.
        squares = ((one.sum(1) - one.shape[1] * (1 - p)) / (sigma * math.sqrt(one.shape[1]))) ** 2
        assert abs(float(squares.mean()) - 1) < 5 * math.sqrt(2 / len(squares)), name


SHAPE = (64, 128)
FIRST: dict[str, Any] = {"samples": list(range(16)), "site": 0, "step": 7, "seed": 3}
OTHERS: dict[str, dict[str, Any]] = {
    "layers": {"site": 1},
    "steps": {"step": 8},
    "far steps": {"step": 7 + 2**20},
    "seeds": {"seed": 4},
    "samples": {"samples": list(range(1, 17))},
    "far samples": {"samples": list(range(2**20, 2**20 + 16))},
}


def correlation(left: torch.Tensor, right: torch.Tensor) -> float:
    """In units of its own deviation for independent masks."""
    pair = torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))
    return abs(float(pair[0, 1])) * math.sqrt(left.numel())


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("other", OTHERS)
def test_masks_do_not_correlate(other: str, p: float) -> None:
    left, right = kept(SHAPE, p, **FIRST), kept(SHAPE, p, **{**FIRST, **OTHERS[other]})
    assert correlation(left, right) < 5
    # Also where one is moved against the other, and between all pairs of columns.
    assert correlation(left[:, 1:], right[:, :-1]) < 5
    assert correlation(left[..., 1:], right[..., :-1]) < 5


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_elements_of_a_mask_do_not_correlate(p: float) -> None:
    mask = kept(SHAPE, p, **FIRST)
    for lag in (1, 2, 3, 4, 8, 16, 32):
        assert correlation(mask[..., lag:], mask[..., :-lag]) < 5, f"along a row, {lag} apart"
        assert correlation(mask[:, lag:], mask[:, :-lag]) < 5, f"along a column, {lag} apart"
    columns = torch.corrcoef(mask.flatten(0, 1).T) * math.sqrt(mask.shape[0] * mask.shape[1])
    assert float((columns - torch.diag(columns.diag())).abs().max()) < 6, "of 8128 pairs"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_gradients_pass_where_values_did(dtype: torch.dtype) -> None:
    x = torch.randn(3, 5, 8, dtype=dtype, requires_grad=True)
    out = drop(x, torch.tensor([1, 2, 3], dtype=torch.int32), 0.25)
    out.backward(torch.ones_like(out))
    assert out.dtype is dtype
    assert x.grad is not None
    assert set(x.grad.unique().tolist()) == {0.0, float(torch.tensor(4 / 3, dtype=torch.float32).to(dtype))}
    assert torch.equal(out, x * x.grad)
    assert not drop(x, torch.tensor([1, 2, 3], dtype=torch.int32), 1.0).any()


def test_evaluation_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    ids = torch.arange(12).view(2, 6)
    expected = model.eval()(input_ids=ids).logits
    adapt(model, 0, CPU)
    monkeypatch.setattr(drawing, "drop", None)
    assert torch.equal(model(input_ids=ids).logits, expected)


def test_training_without_samples_is_refused() -> None:
    model = model_of()
    adapt(model, 0, CPU).begin(0)
    with pytest.raises(RuntimeError, match="before anybody said for which samples"):
        model(input_ids=torch.arange(4)[None])


def test_a_gradient_checkpoint_draws_the_same_again() -> None:
    grads = []
    for checkpoints in (False, True):
        model = model_of()
        draws = adapt(model, 0, CPU)
        if checkpoints:
            model.activation_checkpointing_enable()
        draws.use(torch.tensor([4, 9]))
        model(input_ids=torch.arange(12).view(2, 6)).logits.square().sum().backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize(("first", "last"), [(0, 2), (2, 4), (3, 4)])
def test_some_of_the_heads_are_masked_as_they_are_among_all(first: int, last: int) -> None:
    weights = torch.rand(3, 4, 6, 6) + 1
    draws = draws_for([5, 0, 7])
    whole = draws.drop(weights, 1, 0.3)
    assert torch.equal(draws.drop(weights[:, first:last], 1, 0.3, first), whole[:, first:last])


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_that_of_transformers_but_for_what_is_dropped(
    monkeypatch: pytest.MonkeyPatch, kind: str, padded: bool
) -> None:
    """Causal, grouped and biased attention as well: with a dropout that drops nothing, the result is the library's."""
    model = model_of(kind, **({"attention_dropout": 0.1} if kind == "llama" else {}))
    ids = torch.arange(2, 14).view(2, 6)
    mask = torch.ones_like(ids)
    if padded:
        mask[1, 4:] = 0
    expected = model.eval()(input_ids=ids, attention_mask=mask).logits
    adapt(model.train(), 0, CPU)
    dropped: list[tuple[int, ...]] = []

    def keep_all(self: Any, x: torch.Tensor, p: float, first: int = 0) -> torch.Tensor:
        dropped.append(tuple(x.shape))
        return x

    monkeypatch.setattr(drawing.Site, "drop", keep_all)
    found = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()])
    heads = SIZES[kind].get("num_attention_heads", 2)
    assert dropped.count((2, heads, 6, 6)) == 2, "once a layer"


def test_nothing_of_it_is_exported() -> None:
    model = model_of()
    names = list(model.state_dict())
    adapt(model, 0, CPU)
    assert model.config._attn_implementation == ATTENTION
    assert ATTENTION not in model.config.to_json_string()
    assert list(model.state_dict()) == names
    assert isinstance(model.get_submodule("bert.embeddings.dropout"), SampleDropout)


class Drawing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.5)


def test_what_cannot_be_drawn_by_sample_is_told() -> None:
    with pytest.warns(UserWarning, match="its loss depends on the number of ranks"), expect_no_other_draws(CPU):
        Drawing()(torch.ones(2, 2))
    with expect_no_other_draws(CPU):
        kept((4,), 0.5, [1])
    with pytest.warns(UserWarning, match="a drops from a tensor whose first dimension is not the samples"):
        table = draws_for([1, 2]).drop(torch.ones(5, 4), 0, 0.5)
    with pytest.warns(UserWarning, match="is not the samples"):
        assert torch.equal(draws_for([3]).drop(torch.ones(5, 4), 0, 0.5), table), "the same for all samples"


@pytest.mark.gpu
def test_a_gpu_draws_the_same() -> None:
    x, keys = torch.randn(4, 3, 9, 33), torch.arange(4, dtype=torch.int32)
    assert torch.equal(drop(x.cuda(), keys.cuda(), 0.1).cpu(), drop(x, keys, 0.1))
