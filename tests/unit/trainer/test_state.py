"""What a job remembers beside tensors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_api.trainer import ParallelConfig
from dtj_trainer.checkpoint.curve import LIMIT, Curve
from dtj_trainer.checkpoint.state import FILE, EarlyStop, ResumeError, TrainState
from dtj_trainer.parallel.world import LayoutError, layout

pytestmark = pytest.mark.unit


def full_state() -> TrainState:
    state = TrainState({"seed": 1, "labels": ["PER"]}, step=7, epoch=1, consumed=8, tokens=99, evaluated_step=5)
    state.early.observe(0.5, 5, 0.0)
    state.curve.add(1, 0.25, 4)
    state.world_sizes.append([0, 3])
    return state


def test_state_comes_back_as_it_was(tmp_path):
    state = full_state()
    (tmp_path / FILE).write_text(state.text(1.5))
    assert TrainState.read(tmp_path, state.identity) == (state, 1.5)


OLD = """{
 "format": 2,
 "parameterNorm": 21.5,
 "identity": {
  "data": "4f0c",
  "task": "ner",
  "labels": ["PER", "ORG", "LOC"]
 },
 "step": 12,
 "epoch": 1,
 "consumed": 80,
 "samples": 192,
 "tokens": 2710,
 "seconds": 1.25,
 "evaluated_step": 7,
 "stopped": false,
 "skipped": 1,
 "skipped_in_a_row": 0,
 "early": {
  "best_f1": 0.625,
  "best_step": 7,
  "bad": 0
 },
 "evaluations": [
  {
   "step": 7,
   "epoch": 1.0,
   "devF1Strict": 0.625,
   "devF1Default": 0.6666666666666666,
   "trainLoss": 1.5
  }
 ],
 "curve": {
  "stride": 1,
  "points": [
   [1, 20.0, 10, 1]
  ]
 },
 "world_sizes": [
  [0, 2]
 ]
}"""
"""As it was written before there were other scores than F1."""


def test_the_file_is_the_one_of_versions_that_knew_of_no_score_but_f1_in_both_directions(tmp_path):
    (tmp_path / FILE).write_text(OLD)
    old = json.loads(OLD)
    state, norm = TrainState.read(tmp_path, old["identity"])
    assert (norm, state.identity, state.evaluations) == (21.5, old["identity"], old["evaluations"])
    assert state.early == EarlyStop(best=0.625, best_step=7, bad=0)
    assert json.loads(state.text(norm)) == old
    assert not state.early.observe(0.5, 14, 0.0), "what was best before still is"
    for name in (
        "step",
        "epoch",
        "consumed",
        "samples",
        "tokens",
        "seconds",
        "evaluated_step",
        "skipped",
        "world_sizes",
    ):
        assert getattr(state, name) == old[name]
    assert state.curve.mean(0) == 2.0


def test_other_data_or_batch_is_refused_by_name(tmp_path):
    (tmp_path / FILE).write_text(full_state().text(1.0))
    with pytest.raises(ResumeError, match="was made with seed = 1, the job has 2"):
        TrainState.read(tmp_path, {"seed": 2, "labels": ["PER"]})


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"format": 0})])
def test_a_foreign_or_torn_file_is_refused(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ResumeError, match=FILE):
        TrainState.read(tmp_path, {})


@pytest.mark.parametrize(
    ("scores", "min_delta", "best", "bad"),
    [
        ([0.0], 0.0, (0.0, 1), 0),
        ([0.2, 0.3], 0.0, (0.3, 2), 0),
        ([0.3, 0.3], 0.0, (0.3, 1), 1),
        ([0.3, 0.2, 0.1], 0.0, (0.3, 1), 2),
        ([0.3, 0.2, 0.4, 0.1], 0.0, (0.4, 3), 1),
        # Better by less than min_delta: the best weights are kept and patience is still spent.
        ([0.30, 0.31], 0.05, (0.31, 2), 1),
        # Of some scores the best is below 0.
        ([-26.0, -9.5, -12.0], 0.0, (-9.5, 2), 1),
    ],
)
def test_early_stopping_counts_evaluations_without_improvement(scores, min_delta, best, bad):
    early = EarlyStop()
    for step, score in enumerate(scores, start=1):
        early.observe(score, step, min_delta)
    assert ((early.best, early.best_step), early.bad) == (best, bad)


def test_mean_loss_weighs_tokens_and_not_batches():
    curve = Curve()
    curve.add(1, 1.0, 8)
    curve.add(2, 3.0, 40)
    assert curve.mean(1) == pytest.approx((8 * 1.0 + 40 * 3.0) / 48)
    assert curve.mean(2) == pytest.approx(3.0)
    assert Curve().mean(0) == 0.0


@given(st.integers(1, 5 * LIMIT))
def test_the_curve_stays_bounded_and_loses_no_token(steps):
    curve = Curve()
    for step in range(1, steps + 1):
        curve.add(step, 2.0, 3)
    assert len(curve.points) <= LIMIT
    assert sum(point[2] for point in curve.points) == 3 * steps
    assert curve.series()[0][-1] == steps
    assert set(curve.series()[1]) == {2.0}


@pytest.mark.parametrize(
    ("shard", "replicate", "tensor", "world", "expected"),
    [
        (1, -1, 1, 3, (3, 1, 1)),
        (2, -1, 1, 4, (2, 2, 1)),
        (-1, -1, 1, 3, (1, 3, 1)),
        (-1, 2, 1, 4, (2, 2, 1)),
        (2, 2, 1, 4, (2, 2, 1)),
        (1, -1, 1, 1, (1, 1, 1)),
        (1, -1, 2, 2, (1, 1, 2)),
        (1, -1, 2, 6, (3, 1, 2)),
        (-1, -1, 2, 6, (1, 3, 2)),
        (-1, 2, 2, 8, (2, 2, 2)),
        (2, -1, 1, 3, None),
        (2, 2, 1, 3, None),
        (4, -1, 1, 2, None),
        (-1, 3, 1, 2, None),
        (1, -1, 2, 3, None),
        (1, -1, 2, 1, None),
        (2, -1, 2, 2, None),
        (2, 2, 2, 4, None),
    ],
)
def test_layout(shard, replicate, tensor, world, expected):
    config = ParallelConfig(data_shard=shard, data_replicate=replicate, tensor=tensor)
    if expected is None:
        with pytest.raises(LayoutError, match=f"x tensor {tensor} is not the {world} ranks"):
            layout(config, world)
    else:
        shape = layout(config, world)
        assert (shape.replicate, shape.shard, shape.tensor) == expected
