"""Entity scores by seqeval, in both of its modes, each under its own name.

The two differ: gold `B-PER I-PER` against `I-PER I-PER` is F1 1.0 in the default mode, which reads a stray I- as the
start of an entity, and 0.0 in the strict mode. A score without the mode's name cannot be compared with anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from dtj_trainer.tasks.task import Bars, Scores, Table

Tags = Sequence[Sequence[str]]
MODES = {
    "strict": "seqeval strict mode, scheme IOB2",
    "default": "seqeval default mode (a stray I- starts an entity)",
}
_COLUMNS = ("type", "precision", "recall", "F1", "entities")
_BARS = Bars("types.png", "Test, strict mode, by entity type (gold entities)", _COLUMNS[1:4], below=_COLUMNS[4])


def entity_scores(gold: Tags, predicted: Tags, kinds: Sequence[str]) -> dict[str, Any]:
    """Micro-averaged and per-type scores: `{"strict": {...}, "default": {...}}`.

    Each mode has precision, recall, f1 (0..1), support (gold entities) and `byType` with the same for each type.
    """
    # With it come scipy and scikit-learn, seconds that a training needs no sooner than its first evaluation.
    from seqeval.scheme import IOB2

    return {
        "strict": _scores(gold, predicted, kinds, mode="strict", scheme=IOB2),
        "default": _scores(gold, predicted, kinds, mode=None, scheme=None),
    }


def _scores(gold: Tags, predicted: Tags, kinds: Sequence[str], **mode: Any) -> dict[str, Any]:
    from seqeval.metrics import classification_report

    with warnings.catch_warnings():
        # A type that was never predicted has no precision: it counts as 0, and support tells the rest.
        warnings.simplefilter("ignore")
        report = classification_report(
            [list(tags) for tags in gold],
            [list(tags) for tags in predicted],
            output_dict=True,
            zero_division=0,
            **mode,
        )
    return {**_row(report["micro avg"]), "byType": {kind: _row(report.get(kind, {})) for kind in kinds}}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "precision": float(row.get("precision", 0)),
        "recall": float(row.get("recall", 0)),
        "f1": float(row.get("f1-score", 0)),
        "support": int(row.get("support", 0)),
    }


def told(modes: Mapping[str, Mapping[str, Any]]) -> Scores:
    """What `entity_scores` returned, with the name of its mode at every number."""
    return Scores(
        main="F1 strict",
        values={f"F1 {mode}": modes[mode]["f1"] for mode in MODES},
        tables=tuple(_table(mode, modes[mode]) for mode in MODES),
        details={mode: {"description": MODES[mode], **modes[mode]} for mode in MODES},
    )


def _table(mode: str, scores: Mapping[str, Any]) -> Table:
    measures = ("precision", "recall", "f1", "support")
    return Table(
        MODES[mode],
        _COLUMNS,
        tuple((kind, *(row[name] for name in measures)) for kind, row in scores["byType"].items()),
        total=("all (micro)", *(scores[name] for name in measures)),
        bars=_BARS if mode == "strict" else None,
    )
