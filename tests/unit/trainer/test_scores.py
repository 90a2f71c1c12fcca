"""Both of seqeval's modes, pinned."""

from __future__ import annotations

import pytest

from dtj_trainer.tasks.scores import entity_scores

pytestmark = pytest.mark.unit

KINDS = ["PER", "ORG", "LOC"]


def test_strict_and_default_differ_on_a_stray_inside_tag():
    scores = entity_scores([["B-PER", "I-PER"]], [["I-PER", "I-PER"]], KINDS)
    assert scores["default"]["f1"] == 1.0
    assert scores["strict"]["f1"] == 0.0


def test_entities_count_and_not_words():
    gold = [["B-PER", "I-PER", "I-PER", "O", "B-LOC"]]
    found = [["B-PER", "I-PER", "O", "O", "B-LOC"]]
    scores = entity_scores(gold, found, KINDS)["strict"]
    assert (scores["precision"], scores["recall"], scores["f1"], scores["support"]) == (0.5, 0.5, 0.5, 2)
    assert scores["byType"]["LOC"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert scores["byType"]["PER"]["f1"] == 0.0
    assert list(scores["byType"]) == KINDS


@pytest.mark.parametrize("predicted", [["O", "O"], ["I-PER", "O"], ["B-ORG", "I-ORG"]])
def test_nothing_to_find_is_no_error(predicted):
    scores = entity_scores([["O", "O"]], [predicted], KINDS)
    for mode in ("strict", "default"):
        assert scores[mode]["f1"] == 0.0
        assert scores[mode]["support"] == 0
