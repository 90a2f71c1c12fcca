"""`dtj run`: a job on this machine, without a cluster.

It plays the operator's part as far as one machine has it: one meeting, a budget of restarts, and an end.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dtj_api.names import Env, ExitCode, LauncherState, code_of_signal
from dtj_api.wire import Report
from dtj_trainer.launch.local.job import LocalError, LocalJob, StoppedError, Worker
from dtj_trainer.launch.local.nursery import Nursery
from dtj_trainer.launch.settings import seconds

POLL = 0.2
GRACE = 120.0
"""Seconds that launchers have for a last save where nobody says."""
LEAVING = 10.0
"""Seconds on top, in which they end."""
STORES = 5
"""Stores that may end in one run: a port that was free a moment ago may be taken, and memory may be short."""


class RunOver(NamedTuple):
    """Why a run ends that has failed."""

    code: ExitCode
    message: str


class Interrupts:
    """SIGINT and SIGTERM that have come."""

    def __init__(self) -> None:
        self.come: list[int] = []

    @property
    def code(self) -> int:
        """What a shell expects of a program that the first of them has ended."""
        return code_of_signal(self.come[0])


def run(
    command: Sequence[str],
    workers: int,
    processes_per_worker: int,
    work_dir: Path | None,
    env: Mapping[str, str],
    on_report: Callable[[list[Report]], None] | None = None,
    *,
    devices: Sequence[str] = (),
    judge: Callable[[list[Report]], RunOver | None] | None = None,
    name: str = "local",
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
        judge: told the reports too; says why the run is over because of its failures, or nothing: then ranks that may
            not start again by themselves do. None: whatever fails is restarted.
        name: of the job.
        output: descriptor for the output of launchers and ranks; None: standard output.
        nursery: to start the launchers in; None: one of its own, which imports torch first.

    Returns:
        Exit code for the shell: 0 when the job succeeded, 130 after SIGINT (Ctrl-C), 143 after SIGTERM.

    Raises:
        BadConfigError: DTJ_GRACE_SECONDS is no number of seconds.
    """
    patience = seconds(env, Env.GRACE_SECONDS, GRACE) + LEAVING
    with (
        _interrupts() as interrupts,
        LocalJob(
            command,
            processes=processes_per_worker,
            work_dir=work_dir,
            env=env,
            name=name,
            output=output,
            nursery=nursery,
        ) as job,
    ):
        job.start_store()
        for index in range(workers):
            job.start_worker(index, {"CUDA_VISIBLE_DEVICES": devices[index]} if devices else None)
        try:
            job.meet(stopped=lambda: bool(interrupts.come))
            leave = partial(stop, job, interrupts, patience)
            return _oversee(job, on_report or (lambda _: None), judge or (lambda _: None), interrupts, leave)
        except StoppedError:
            print("dtj: stopped before the training began", file=sys.stderr)
            return interrupts.code
        except LocalError as error:
            print(f"dtj: {error}", file=sys.stderr)
            return error.code


def _oversee(
    job: LocalJob,
    on_report: Callable[[list[Report]], None],
    judge: Callable[[list[Report]], RunOver | None],
    interrupts: Interrupts,
    leave: Callable[[], None],
) -> int:
    """Watch the run until its end; the exit code.

    Raises:
        LocalError: a launcher has ended, or cannot go on, or the store has ended too often.
        StoppedError: the run is stopped while they are told of another store.
    """
    stores = 0
    while True:
        ended = [worker for worker in job.workers if worker.process.exit]
        if failed := [worker for worker in ended if worker.process.exit and worker.process.exit.code]:
            raise max((job.error_of(worker) for worker in failed), key=lambda error: error.code)
        if len(ended) == len(job.workers):
            return int(ExitCode.DONE)
        if interrupts.come:
            leave()
            return interrupts.code
        told = {worker.index: report for worker in job.workers if (report := worker.report())}
        reports = list(told.values())
        on_report(reports)
        if over := judge(reports):
            print(f"dtj: {over.message}", file=sys.stderr)
            leave()
            return int(over.code)
        if given_up := [w for w in job.workers if w.index in told and told[w.index].state == LauncherState.FAILED]:
            leave()
            raise _gave_up(given_up[0], told[given_up[0].index].error)
        # Whoever is through needs none, and would begin anew where he is told to meet.
        through = ended or any(report.state == LauncherState.DONE for report in reports)
        if job.store is not None and job.store.exit and not through:
            stores += 1
            if stores == STORES:
                raise LocalError(f"the store has ended {STORES} times; its output says why")
            job.start_store()
            job.meet(stopped=lambda: bool(interrupts.come))
        job.let_start(reports)
        time.sleep(POLL)


def _gave_up(worker: Worker, why: str) -> LocalError:
    """What is to be said of a launcher that has told that it failed, and has left since."""
    ended = worker.process.exit
    # One that stayed for another meeting has left by our word, with the code of a job that is stopped and goes on.
    code = ExitCode.FAILED if ended is None or ended.code == ExitCode.DRAINED else ended.code
    return LocalError(f"worker {worker.index} gave up: {why}", max(code, ExitCode.FAILED))


def stop(job: LocalJob, interrupts: Interrupts, patience: float) -> None:
    """Have all launchers leave after a save, and wait for them; those that are left then end with the job.

    Args:
        job: whose launchers leave.
        interrupts: another one ends the wait.
        patience: seconds; the longest wait.
    """
    so_far, deadline = len(interrupts.come), time.monotonic() + patience
    for worker in job.workers:
        job.signal(worker.process, signal.SIGTERM)
    while left := [worker for worker in job.workers if not worker.process.exit]:
        late = time.monotonic() > deadline
        if late or len(interrupts.come) > so_far:
            why = f"no end {patience:.0f} s after the word to leave" if late else "stopped again"
            names = ", ".join(f"worker {worker.index}" for worker in left)
            print(f"dtj: {why}: killed without a save, if they were about one: {names}", file=sys.stderr)
            return
        left[0].process.wait(POLL)


@contextlib.contextmanager
def _interrupts() -> Iterator[Interrupts]:
    """SIGINT and SIGTERM end the run in order."""
    interrupts = Interrupts()
    before = {
        signum: signal.signal(signum, lambda got, _: interrupts.come.append(got))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
