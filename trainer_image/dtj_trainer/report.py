"""The final report of a job: report.json for programs, report.md and two pictures for people."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from dtj_api.trainer import TrainerConfig
from dtj_trainer.checkpoint.state import TrainState

MODES = {
    "strict": "seqeval strict mode, scheme IOB2",
    "default": "seqeval default mode (a stray I- starts an entity)",
}


def build_report(
    config: TrainerConfig, state: TrainState, data: dict[str, Any], test: dict[str, Any], model: Path, head: str
) -> dict[str, Any]:
    """Everything that is known of a finished job; `head` says what became of the head of the model's files."""
    steps, losses = state.curve.series()
    return {
        "task": config.task,
        "test": {mode: {"description": MODES[mode], **test[mode]} for mode in MODES},
        "best": {"step": state.early.best_step, "devF1Strict": state.early.best_f1},
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
        "data": data,
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
    """Write report.json, report.md, loss.png and types.png. report.json comes last: where it is, all of it is."""
    # With it comes matplotlib, seconds that no start has to wait for.
    from dtj_trainer.plots import plot_loss, plot_types

    directory.mkdir(parents=True, exist_ok=True)
    plot_loss(directory / "loss.png", report)
    plot_types(directory / "types.png", report)
    (directory / "report.md").write_text(markdown(report))
    making = directory / ".report.json.tmp"
    making.write_text(json.dumps(report, indent=1))
    making.replace(directory / "report.json")


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    training, data = report["training"], report["data"]
    lines = ["# Named entities: test report", ""]
    for mode in MODES:
        scores = report["test"][mode]
        lines += [f"## Test scores: {scores['description']}", "", "| type | precision | recall | F1 | entities |"]
        lines += ["|---|---|---|---|---|", *(_row(kind, row) for kind, row in scores["byType"].items())]
        lines += [_row("**all (micro)**", scores), ""]
    lines += ["![scores by type](types.png)", "", "## Training", ""]
    stop = "stopped early" if report["stoppedEarly"] else "all epochs done"
    sizes = ", ".join(f"{row['ranks']} from step {row['fromStep']}" for row in training["worldSizes"])
    lines += [
        f"- {training['steps']} steps, {training['tokens']} tokens in {training['seconds']:.0f} s "
        f"({training['tokensPerSecond']:.0f} tokens/s); {stop}",
        f"- best on dev: F1 strict {report['best']['devF1Strict']:.4f} at step {report['best']['step']}; "
        "these weights are the ones tested and exported",
        f"- ranks: {sizes}",
        f"- steps skipped since loss or gradient was not finite: {training['skippedSteps']}",
        f"- model: `{report['model']}`; head: {report['head']}",
        "",
        "| step | epoch | train loss | dev F1 strict | dev F1 default |",
        "|---|---|---|---|---|",
        *(
            f"| {row['step']} | {row['epoch']:.2f} | {row['trainLoss']:.4f} | {row['devF1Strict']:.4f} "
            f"| {row['devF1Default']:.4f} |"
            for row in report["evaluations"]
        ),
        "",
        "![loss](loss.png)",
        "",
        "## Data",
        "",
        "| split | sentences | words | entities | cut sentences | lost words | lost entities |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['sentences']} | {row['words']} | {sum(row['entities'].values())} | {row['sentencesCut']} "
            f"| {row['wordsLost']} | {row['entitiesLost']} |"
            for name, row in data["splits"].items()
        ),
        "",
        f"Same words in two splits: {data['leaks']['devInTrain']} of dev in train, {data['leaks']['testInTrain']} of "
        f"test in train, {data['leaks']['testInDev']} of test in dev; {data['leaks']['trainDuplicates']} duplicates "
        "within train.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, row: dict[str, Any]) -> str:
    return f"| {name} | {row['precision']:.4f} | {row['recall']:.4f} | {row['f1']:.4f} | {row['support']} |"
