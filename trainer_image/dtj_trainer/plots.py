"""The pictures of the report. The Agg canvas is used directly: no display, no global state of pyplot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dtj_trainer.tasks.task import key

_GROUP = 0.81
"""Width of a group of bars, of which the next one begins 1 further."""


def plot_loss(path: Path, report: dict[str, Any]) -> None:
    """Training loss by step, and the main score on dev of each evaluation on a second axis."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(report["loss"]["steps"], report["loss"]["mean"], color="tab:blue", linewidth=1)
    axes.set(xlabel="step", ylabel="training loss per label", ylim=(0, None))
    main = report["test"]["main"]
    points = [(row["step"], row[key("dev", main)]) for row in report["evaluations"] if key("dev", main) in row]
    if points:
        second = axes.twinx()
        second.plot(*zip(*points, strict=True), "o-", color="tab:orange")
        second.set(ylabel=f"dev {main}")
        if all(0 <= score <= 1 for _, score in points):
            second.set(ylim=(0, 1))
    axes.set_title(f"Training loss and dev {main}")
    _write(figure, path)


def plot_bars(path: Path, table: dict[str, Any]) -> None:
    """A table's columns that are drawn, as a group of bars for each of its rows."""
    bars, columns, rows = table["bars"], table["columns"], table["rows"]
    figure = Figure(figsize=(max(4.0, 1.6 * len(rows) + 2), 4), layout="constrained")
    axes = figure.add_subplot()
    count = len(bars["columns"])
    for number, name in enumerate(bars["columns"]):
        places = [i + _GROUP / count * (number - (count - 1) / 2) for i in range(len(rows))]
        axes.bar(places, [row[columns.index(name)] for row in rows], width=0.75 / count, label=name)
    below = columns.index(bars["below"])
    axes.set_xticks(range(len(rows)), [f"{row[0]}\n({row[below]})" for row in rows])
    axes.set(ylim=(0, 1), ylabel="score", title=bars["title"])
    axes.legend()
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path)
