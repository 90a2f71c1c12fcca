"""Words that the model never sees: counted in the report, scored as `O`, and no trouble for the steps they are in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from trainer_fixture import make_model, write_conll

pytestmark = pytest.mark.unit

JOINER, VARIANT, HYPHEN, NO_WIDTH = "\u200d", "\ufe0f", "\u00ad", "\u200b"
SENTENCES = [
    [("anna", "B-PER"), (JOINER, "O"), ("went", "O"), (VARIANT, "O")],
    [(JOINER, "O"), (VARIANT, "O"), (HYPHEN, "O"), (NO_WIDTH, "O")],
    [(f"{NO_WIDTH}oslo", "B-LOC"), ("is", "O"), (f"co{HYPHEN}ld", "O")],
    [("acme", "B-ORG"), (HYPHEN, "I-ORG"), ("works", "O")],
    [("boris", "B-PER"), ("", "O"), ("works", "O")],
    [("", "B-PER")],
]
LOST = {"sentencesCut": 5, "wordsLost": 9, "entitiesLost": 2}


def test_lost_words_are_counted_and_a_step_of_nothing_else_is_not_skipped(job, tmp_path: Path) -> None:
    """A batch is one sentence here, so that two steps of an epoch have no label at all."""
    path = str(write_conll(tmp_path / "odd.conll", SENTENCES))
    data = {"file": "", "split": None, "train": path, "dev": path, "test": path}
    code, said, report = job(make_model(tmp_path / "model"), data=data, batchSize=1, epochs=2)
    assert code == 0, said
    for facts in report["data"]["splits"].values():
        assert {name: facts[name] for name in LOST} == LOST
    assert (report["training"]["steps"], report["training"]["skippedSteps"]) == (12, 0)
    assert all(map(math.isfinite, report["loss"]["mean"]))
