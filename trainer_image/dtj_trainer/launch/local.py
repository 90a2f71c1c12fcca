"""`dtj run`: a job on this machine, without a cluster.

It plays the operator's part as far as one machine has it: one meeting, a budget of restarts, and an end.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dtj_api.names import ExitCode, LauncherState
from dtj_api.wire import Report
from dtj_trainer.launch.local_job import LocalError, LocalJob
from dtj_trainer.launch.nursery import Nursery

POLL = 0.2


def run(
    command: Sequence[str],
    workers: int,
    processes_per_worker: int,
    work_dir: Path | None,
    env: Mapping[str, str],
    on_report: Callable[[list[Report]], None] | None = None,
    *,
    devices: Sequence[str] = (),
    max_restarts: int = 3,
    output: int | None = None,
    nursery: Nursery | None = None,
) -> int:
    """Train on this machine; returns when all ranks have ended well, or the failures are too many.

    Args:
        command: what each rank runs, such as `["python", "train.py"]`.
        workers: launchers.
        processes_per_worker: ranks of each.
        work_dir: the job's folder for checkpoints and logs; None: none.
        env: on top of this process's environment.
        on_report: told the reports of all launchers that answer, a few times a second.
        devices: CUDA_VISIBLE_DEVICES of each worker; empty: all see what this process sees.
        max_restarts: restarts for failed ranks, in all. A rank that exits `ExitCode.BAD_CONFIG` gets none.
        output: descriptor for the output of launchers and ranks; None: standard output.
        nursery: to start the launchers in; None: one of its own, which imports torch first.

    Returns:
        Exit code for the shell: 0 when the job succeeded.
    """
    local = LocalJob(
        command, processes=processes_per_worker, work_dir=work_dir, env=env, output=output, nursery=nursery
    )
    with local as job, _interrupts() as stopped:
        job.start_store()
        for index in range(workers):
            job.start_worker(index, {"CUDA_VISIBLE_DEVICES": devices[index]} if devices else None)
        try:
            job.meet()
            return _oversee(job, on_report or (lambda _: None), max_restarts, stopped)
        except LocalError as error:
            print(f"dtj: {error}", file=sys.stderr)
            return int(ExitCode.FAILED)


def _oversee(
    job: LocalJob, on_report: Callable[[list[Report]], None], max_restarts: int, stopped: Callable[[], bool]
) -> int:
    failures: set[tuple[int, int]] = set()
    while True:
        exits = [worker.process.exit for worker in job.workers]
        codes = [exit.code for exit in exits if exit]
        if len(codes) == len(exits) and not any(codes):
            return int(ExitCode.DONE)
        if any(codes):
            return max(*codes, int(ExitCode.FAILED))
        if stopped():
            return _stop(job)
        reports = [report for worker in job.workers if (report := worker.report())]
        on_report(reports)
        failures |= {(f.incarnation, f.round) for report in reports for f in report.failures}
        wrong = next((f for report in reports for f in report.failures if f.exit_code == ExitCode.BAD_CONFIG), None)
        if wrong is not None:
            print(f"dtj: rank {wrong.rank} exited {wrong.exit_code}, and a restart does not help", file=sys.stderr)
            _stop(job)
            return int(ExitCode.BAD_CONFIG)
        if len(failures) > max_restarts:
            print(f"dtj: {len(failures)} failures, and {max_restarts} restarts are allowed", file=sys.stderr)
            _stop(job)
            return int(ExitCode.FAILED)
        if any(report.state == LauncherState.FAILED for report in reports):
            _stop(job)
            return int(ExitCode.FAILED)
        time.sleep(POLL)


def _stop(job: LocalJob) -> int:
    """Have all leave after a save, and wait for them."""
    for worker in job.workers:
        job.signal(worker.process, signal.SIGTERM)
    for worker in job.workers:
        worker.process.wait()
    return int(ExitCode.DRAINED)


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM end the run in order; yields whether one has come."""
    come: list[int] = []
    before = {
        signum: signal.signal(signum, lambda got, _: come.append(got)) for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(come)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
