"""The trainer's report.json as tables for people: entity-level scores in both of seqeval's modes, each named."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

MODES = ("strict", "default")


def tables(report: dict[str, Any]) -> list[Table]:
    """One table for each mode: precision, recall, F1 and number of entities by type and over all."""
    return [_table(report["test"][mode]) for mode in MODES]


def _table(scores: dict[str, Any]) -> Table:
    table = Table("type", title=f"Test, {scores['description']}", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("precision", "recall", "F1", "entities"):
        table.add_column(heading, justify="right")
    for kind, row in scores["byType"].items():
        table.add_row(kind, *_cells(row))
    table.add_section()
    table.add_row("all (micro)", *_cells(scores))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    return [f"{row['precision']:.4f}", f"{row['recall']:.4f}", f"{row['f1']:.4f}", f"{row['support']:,}"]


def summary(report: dict[str, Any]) -> str:
    """What the training took."""
    training = report["training"]
    sizes = ", ".join(f"{row['ranks']} ranks from step {row['fromStep']}" for row in training["worldSizes"])
    speed = f"{training['tokensPerSecond']:,.0f} tokens/s"
    return f"{training['steps']:,} steps in {training['seconds']:.0f} s, {speed}; {sizes}"
