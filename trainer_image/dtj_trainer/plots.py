"""The two pictures of the report. The Agg canvas is used directly: no display, no global state of pyplot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_loss(path: Path, report: dict[str, Any]) -> None:
    """Training loss by step, and the strict dev F1 of each evaluation on a second axis."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(report["loss"]["steps"], report["loss"]["mean"], color="tab:blue", linewidth=1)
    axes.set(xlabel="step", ylabel="training loss per labelled token", ylim=(0, None))
    rows = report["evaluations"]
    if rows:
        second = axes.twinx()
        second.plot([r["step"] for r in rows], [r["devF1Strict"] for r in rows], "o-", color="tab:orange")
        second.set(ylabel="dev F1 (strict)", ylim=(0, 1))
    axes.set_title("Training loss and dev F1")
    _write(figure, path)


def plot_types(path: Path, report: dict[str, Any]) -> None:
    """Precision, recall and F1 (strict) of each entity type on test."""
    types = report["test"]["strict"]["byType"]
    figure = Figure(figsize=(max(4.0, 1.6 * len(types) + 2), 4), layout="constrained")
    axes = figure.add_subplot()
    for shift, measure in enumerate(("precision", "recall", "f1")):
        places = [i + 0.27 * (shift - 1) for i in range(len(types))]
        axes.bar(places, [row[measure] for row in types.values()], width=0.25, label=measure)
    axes.set_xticks(range(len(types)), [f"{kind}\n({row['support']})" for kind, row in types.items()])
    axes.set(ylim=(0, 1), ylabel="score", title="Test, strict mode, by entity type (gold entities)")
    axes.legend()
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path)
