"""Launchers as processes of this machine: what `dtj run` uses where there is no cluster, and the tests too.

It plays the operator's part as far as one machine has it: a store, one meeting, a new one when the store or a launcher
has died, and an end when all are done or the same error comes too often.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtj_api.names import Env, ExitCode, LauncherState
from dtj_api.wire import PATHS, POD_HEADER, SIGNATURE_HEADER, Meet, Message, Report, WireError, decode, encode, sign

HOST = "127.0.0.1"
POLL = 0.2
_PATH_OF = {kind: path for path, kind in PATHS.items()}


class LocalError(Exception):
    """A local run cannot go on; the text says why."""


@dataclass
class Worker:
    """One launcher process."""

    index: int
    uid: str
    process: subprocess.Popen[bytes]
    metrics_port: int
    control_port: int
    key: bytes

    def report(self, timeout: float = 2.0) -> Report | None:
        """What it reports; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.metrics_port}/progress", timeout=timeout) as answer:
                return decode(Report, answer.read())
        except (OSError, WireError):
            return None

    def send(self, message: Message, *, key: bytes | None = None, timeout: float = 5.0) -> tuple[int, bytes]:
        """Send a control message; status and body of the answer.

        Raises:
            OSError: it does not listen.
        """
        body = encode(message)
        path = _PATH_OF[type(message)]
        headers = {SIGNATURE_HEADER: sign(key or self.key, path, self.uid, body), POD_HEADER: self.uid}
        request = urllib.request.Request(f"http://{HOST}:{self.control_port}{path}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()


class LocalJob:
    """A store and launchers on this machine; ends them all when its context is left.

    Args:
        command: what each rank runs.
        processes: ranks of each launcher.
        work_dir: the job's folder; None: no volume.
        env: on top of this process's environment.
        name: of the job.
        output: descriptor for the launchers' output; None: inherited.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        processes: int = 1,
        work_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "local",
        output: int | None = None,
    ) -> None:
        self.workers: list[Worker] = []
        self.store: subprocess.Popen[bytes] | None = None
        self.store_port = 0
        self.incarnation = 0
        self._command = list(command)
        self._processes = processes
        self._work_dir = work_dir
        self._env = dict(env or {})
        self._name = name
        self._output = output
        self._uid = secrets.token_hex(8)
        self._scratch = tempfile.TemporaryDirectory(prefix="dtj-local-")
        self._key = secrets.token_hex(32).encode()
        (Path(self._scratch.name) / "key").write_bytes(self._key)

    def __enter__(self) -> LocalJob:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [worker.process for worker in self.workers] + ([self.store] if self.store else []):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self._scratch.cleanup()

    def start_store(self) -> None:
        """Start a store on a fresh port; an earlier one is left as it is."""
        self.store_port = free_port()
        arguments = [sys.executable, "-m", "dtj_trainer.launch.store", str(self.store_port)]
        self.store = subprocess.Popen(arguments, stdout=self._output, stdin=subprocess.DEVNULL)

    def start_worker(self, index: int) -> Worker:
        """Start one launcher, in the place of an earlier one of the same index."""
        uid = secrets.token_hex(8)
        metrics_port, control_port = free_port(), free_port()
        env = {
            **os.environ,
            "GLOO_SOCKET_IFNAME": "lo",
            **self._env,
            Env.JOB_NAME: self._name,
            Env.JOB_UID: self._uid,
            Env.INDEX: str(index),
            Env.POD_NAME: f"{self._name}-worker-{index:04d}",
            Env.POD_UID: uid,
            Env.POD_IP: HOST,
            Env.PROCESSES: str(self._processes),
            Env.WORK_DIR: str(self._work_dir or ""),
            Env.KEY_FILE: f"{self._scratch.name}/key",
            Env.METRICS_PORT: str(metrics_port),
            Env.CONTROL_PORT: str(control_port),
            Env.BIND_ADDRESS: HOST,
            Env.TERMINATION_LOG: str(self.termination_log(index)),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "dtj_trainer.launch", "--", *self._command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT if self._output is not None else None,
        )
        worker = Worker(index, uid, process, metrics_port, control_port, self._key)
        self.workers = sorted([*(w for w in self.workers if w.index != index), worker], key=lambda w: w.index)
        return worker

    def termination_log(self, index: int) -> Path:
        """Where a launcher writes its first error."""
        return Path(self._scratch.name) / f"termination-{index}"

    def meet(self, *, fewest: int | None = None) -> None:
        """Have all launchers meet under the next incarnation, as soon as each listens.

        Raises:
            LocalError: one of them has ended.
        """
        self.incarnation += 1
        most = len(self.workers)
        message = Meet(self.incarnation, fewest or most, most, f"{HOST}:{self.store_port}")
        for worker in self.workers:
            self._send_when_up(worker, message)

    def _send_when_up(self, worker: Worker, message: Message) -> None:
        while True:
            with contextlib.suppress(OSError):
                status, body = worker.send(message)
                if status != 200:
                    raise LocalError(f"worker {worker.index} refused {message}: {status} {body.decode()}")
                return
            if worker.process.poll() is not None:
                said = self.termination_log(worker.index)
                text = said.read_text() if said.exists() else ""
                raise LocalError(f"worker {worker.index} ended with {worker.process.returncode}: {text}")
            time.sleep(0.05)


def run(
    command: Sequence[str],
    workers: int,
    processes_per_worker: int,
    work_dir: Path | None,
    env: Mapping[str, str],
    on_report: Callable[[list[Report]], None] | None = None,
    *,
    max_restarts: int = 3,
) -> int:
    """Train on this machine; returns when all ranks have ended well, or the failures are too many.

    Args:
        command: what each rank runs, such as `["python", "train.py"]`.
        workers: launchers.
        processes_per_worker: ranks of each.
        work_dir: the job's folder for checkpoints and logs; None: none.
        env: on top of this process's environment.
        on_report: told the reports of all launchers that answer, a few times a second.
        max_restarts: restarts for failed ranks, in all.

    Returns:
        Exit code for the shell: 0 when the job succeeded.
    """
    with LocalJob(command, processes=processes_per_worker, work_dir=work_dir, env=env) as job, _interrupts() as stopped:
        job.start_store()
        for index in range(workers):
            job.start_worker(index)
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
        codes = [worker.process.poll() for worker in job.workers]
        if all(code == ExitCode.DONE for code in codes):
            return 0
        ended = [code for code in codes if code not in (None, ExitCode.DONE)]
        if ended:
            return int(ended[0] or ExitCode.FAILED) if ended[0] and ended[0] > 0 else int(ExitCode.FAILED)
        if stopped():
            return _stop(job)
        reports = [report for worker in job.workers if (report := worker.report())]
        on_report(reports)
        failures |= {(f.incarnation, f.round) for report in reports for f in report.failures}
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
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)
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


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
