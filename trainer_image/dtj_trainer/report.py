"""The final report of a job: report.json for programs, report.md and its pictures for people."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from dtj_api.trainer import TrainerConfig
from dtj_trainer.checkpoint.state import TrainState
from dtj_trainer.tasks.task import Facts, Scores, key


def build_report(
    config: TrainerConfig, state: TrainState, facts: Facts, test: Scores, model: Path, head: str
) -> dict[str, Any]:
    """Everything that is known of a finished job; `head` says what became of the head of the model's files."""
    steps, losses = state.curve.series()
    return {
        "task": config.task,
        "test": test.body(),
        "best": {"step": state.early.best_step, key("dev", test.main): state.early.best},
        "stoppedEarly": state.stopped,
        "evaluations": state.evaluations,
        "training": {
            "steps": state.step,
            "epochs": state.epoch + 0.0,
            "samples": state.samples,
            "tokens": state.tokens,
            "seconds": round(state.seconds, 3),
            "tokensPerSecond": round(state.tokens / state.seconds, 1) if state.seconds else 0.0,
            "skippedSteps": state.skipped,
            "worldSizes": [{"fromStep": step, "ranks": ranks} for step, ranks in state.world_sizes],
        },
        "loss": {"steps": steps, "mean": losses},
        "data": facts.body(),
        "model": str(model),
        "head": head,
        "config": config.model_dump(by_alias=True),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "machine": platform.machine(),
        },
    }


def write_report(directory: Path, report: dict[str, Any]) -> None:
    """Write report.json, report.md and the pictures. report.json comes last: where it is, all of it is."""
    # With it comes matplotlib, seconds that no start has to wait for.
    from dtj_trainer.plots import plot_bars, plot_loss

    directory.mkdir(parents=True, exist_ok=True)
    plot_loss(directory / "loss.png", report)
    for table in (*report["test"]["tables"], *report["data"]["tables"]):
        if table["bars"]:
            plot_bars(directory / table["bars"]["file"], table)
    (directory / "report.md").write_text(markdown(report))
    making = directory / ".report.json.tmp"
    making.write_text(json.dumps(report, indent=1))
    making.replace(directory / "report.json")


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    test, training, best = report["test"], report["training"], report["best"]
    stop = "stopped early" if report["stoppedEarly"] else "all epochs done"
    sizes = ", ".join(f"{row['ranks']} from step {row['fromStep']}" for row in training["worldSizes"])
    lines = [
        f"# Test report: {report['task']}",
        "",
        *(f"- {name}: {value:.4f}" for name, value in test["values"].items()),
        "",
        *_tables(test["tables"]),
        "## Training",
        "",
        f"- {training['steps']} steps, {training['tokens']} tokens in {training['seconds']:.0f} s "
        f"({training['tokensPerSecond']:.0f} tokens/s); {stop}",
        f"- best on dev: {test['main']} {best[key('dev', test['main'])]:.4f} at step {best['step']}; "
        "these weights are the ones tested and exported",
        f"- ranks: {sizes}",
        f"- steps skipped since loss or gradient was not finite: {training['skippedSteps']}",
        f"- model: `{report['model']}`; head: {report['head']}",
        "",
        *_evaluations(report["evaluations"], list(test["values"])),
        "![loss](loss.png)",
        "",
        "## Data",
        "",
        *_tables(report["data"]["tables"]),
    ]
    return "\n".join(lines)


def _evaluations(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    keys = [key("dev", name) for name in names]
    return [
        *_head(["step", "epoch", "train loss", *(f"dev {name}" for name in names)]),
        # One of a version that did not have a score yet lacks it.
        *(
            _row([row["step"], f"{row['epoch']:.2f}", row["trainLoss"], *(row.get(name, "") for name in keys)])
            for row in rows
        ),
        "",
    ]


def _tables(tables: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for table in tables:
        lines += [f"### {table['title']}", "", *_head(table["columns"]), *map(_row, table["rows"])]
        if table["total"]:
            name, *cells = table["total"]
            lines.append(_row([f"**{name}**", *cells]))
        lines.append("")
        if table["bars"]:
            lines += [f"![{table['bars']['title']}]({table['bars']['file']})", ""]
    return lines


def _head(columns: list[str]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns))]


def _row(cells: Iterable[str | int | float]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(cell: str | int | float) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell).replace("|", "\\|")
