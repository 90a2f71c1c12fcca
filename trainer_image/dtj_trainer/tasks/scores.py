"""Entity scores by seqeval, in both of its modes, each under its own name.

The two differ: gold `B-PER I-PER` against `I-PER I-PER` is F1 1.0 in the default mode, which reads a stray I- as the
start of an entity, and 0.0 in the strict mode. A score without the mode's name cannot be compared with anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

Tags = Sequence[Sequence[str]]


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
