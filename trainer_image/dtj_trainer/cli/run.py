"""`dtj run FILE`: the manifest's job on this machine, with the same launcher and ranks as in a pod."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from dtj_api.names import ExitCode, code_of_signal
from dtj_api.spec import JobSpec
from dtj_trainer.cli.environment import environment
from dtj_trainer.cli.failures import Failures
from dtj_trainer.cli.gpus import Share, gpus_of_torch, share_out, visible
from dtj_trainer.cli.manifest import Job, load_job
from dtj_trainer.cli.progress import ProgressLine
from dtj_trainer.cli.script import Script, script_of
from dtj_trainer.first_look import first_look
from dtj_trainer.launch.local import run as local

COMMAND = ("-m", "dtj_trainer.train")


def run(
    file: Path,
    workers: int | None,
    processes: int | None,
    out: Path | None,
    as_json: bool,
    *,
    device_count: Callable[[], int] = gpus_of_torch,
) -> int:
    """Train and show the result; the exit code for the shell.

    Args:
        file: the manifest.
        workers: in place of spec.workers.replicas.
        processes: in place of spec.workers.processesPerWorker.
        out: the job's folder; None: dtj-runs/NAME.
        as_json: print the result as JSON.
        device_count: how many GPUs are seen.

    Raises:
        ManifestError, UntrainableError: the manifest or what it names cannot be used; nothing was started.
    """
    job = load_job(file)
    if job.spec.trainer is not None:
        first_look(job.spec.trainer)
    share = _share(job.spec, workers, processes, device_count)

    work = (out or Path("dtj-runs") / job.name).absolute()
    script = _script(job, work)
    work.mkdir(parents=True, exist_ok=True)
    log = work / "run.log"
    console = Console(stderr=True)
    console.print(f"[bold]{job.name}[/]: output of the ranks goes to {log}", highlight=False, soft_wrap=True)
    if share.notice:
        console.print(f"dtj: {share.notice}", highlight=False, soft_wrap=True)
    if script.unknown:
        console.print(f"dtj: not set here, the cluster alone knows: {', '.join(script.unknown)}", soft_wrap=True)
    with log.open("ab") as output, ProgressLine(console) as progress, contextlib.chdir(script.directory or Path.cwd()):
        code = local.run(
            script.command,
            share.workers,
            share.processes,
            work,
            {**script.env, **environment(job.spec)},
            progress.update,
            devices=share.devices,
            judge=Failures(job.spec, job.name).judge,
            name=job.name,
            output=output.fileno(),
        )
    if code in (code_of_signal(signal.SIGINT), ExitCode.DRAINED):
        console.print("dtj: stopped; the same command goes on from the last checkpoint", soft_wrap=True)
        return code
    if code:
        console.print(f"dtj: {progress.failure or 'the job did not succeed'} (exit code {code}; {log})", soft_wrap=True)
        return code
    if job.spec.trainer is None:
        _show_folder(work, as_json, console)
    else:
        _show(work, json.loads((work / "report" / "report.json").read_text()), as_json, console)
    return 0


def _script(job: Job, work: Path) -> Script:
    if job.spec.trainer is not None:
        return Script([sys.executable, *COMMAND], {}, None, [])
    return script_of(job, work / "mounts")


def _share(spec: JobSpec, workers: int | None, processes: int | None, device_count: Callable[[], int]) -> Share:
    wanted = workers or spec.workers.replicas
    of_spec = spec.workers.processes_per_worker
    fixed = processes or (None if of_spec == "auto" else of_spec)
    return share_out(visible(device_count), wanted, min(wanted, spec.workers.effective_min), fixed)


def _show_folder(work: Path, as_json: bool, console: Console) -> None:
    if as_json:
        print(json.dumps({"work": str(work)}))
    else:
        console.print(f"the job's folder: {work}", highlight=False, soft_wrap=True)


def result_lines(report: dict[str, Any]) -> list[str]:
    """What a person is told of a report at once: the test scores, and the last row of each of their tables."""
    test = report["test"]
    lines = ["test: " + ", ".join(f"{name} {value:.4f}" for name, value in test["values"].items())]
    for table in test["tables"]:
        if table["total"]:
            cells = zip(table["columns"][1:], table["total"][1:], strict=True)
            told = (f"{name} {cell:.4f}" if isinstance(cell, float) else f"{name} {cell}" for name, cell in cells)
            lines.append(f"{table['title']}: {', '.join(told)}")
    return lines


def _show(work: Path, report: dict[str, Any], as_json: bool, console: Console) -> None:
    if as_json:
        result = {"report": str(work / "report" / "report.json"), "model": report["model"], "test": report["test"]}
        print(json.dumps({**result, "training": report["training"]}, indent=1))
        return
    for line in (
        *result_lines(report),
        f"report: {work / 'report' / 'report.md'}",
        f"model, for transformers' from_pretrained: {report['model']}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
