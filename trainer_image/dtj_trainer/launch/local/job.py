"""A store and launchers as processes of this machine: what `dtj run` and the tests are made of."""

from __future__ import annotations

import contextlib
import secrets
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dtj_api.names import Env, ExitCode
from dtj_api.ports import free_ports
from dtj_api.wire import PATHS, POD_HEADER, SIGNATURE_HEADER, Meet, Message, Report, WireError, decode, encode, sign
from dtj_trainer.launch.local.nursery import Nursery
from dtj_trainer.launch.ranks.ranks import Forked

HOST = "127.0.0.1"
_PATH_OF = {kind: path for path, kind in PATHS.items()}


class LocalError(Exception):
    """A local run cannot go on; the text says why.

    Args:
        text: that.
        code: the exit code of the run.
    """

    def __init__(self, text: str, code: int = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.code = code


class StoppedError(Exception):
    """A local run was told to stop before its launchers met."""


@dataclass
class Worker:
    """One launcher process."""

    index: int
    uid: str
    process: Forked
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
            with refused:
                return refused.code, refused.read()


class LocalJob:
    """A store and launchers on this machine; ends them all when its context is left.

    Args:
        command: what each rank runs.
        processes: ranks of each launcher.
        work_dir: the job's folder; None: no volume.
        env: on top of this process's environment.
        name: of the job.
        output: descriptor for the launchers' output; None: standard output.
        nursery: to start them in; None: one of its own.
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
        nursery: Nursery | None = None,
    ) -> None:
        self.workers: list[Worker] = []
        self.store: Forked | None = None
        self.store_port = 0
        self.incarnation = 0
        self.message: Meet | None = None
        """The last one that was sent to all."""
        self._command = list(command)
        self._processes = processes
        self._work_dir = work_dir
        self._env = dict(env or {})
        self._name = name
        self._output = output
        self._nursery = nursery or Nursery()
        self._owns_nursery = nursery is None
        self._started: list[Forked] = []
        self._uid = secrets.token_hex(8)
        self._scratch = tempfile.TemporaryDirectory(prefix="dtj-local-")
        self._key = secrets.token_hex(32).encode()
        (Path(self._scratch.name) / "key").write_bytes(self._key)

    def __enter__(self) -> LocalJob:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owns_nursery and not any(program.pid for program in self._started):
            # It imports torch still; what it has been asked to start is not to start when it has.
            self._nursery.close()
        for program in self._started:
            self._nursery.zygote.kill(program, signal.SIGKILL)
        for program in self._started:
            program.wait(10.0)
        if self._owns_nursery:
            self._nursery.close()
        self._scratch.cleanup()

    def signal(self, program: Forked, signum: int) -> None:
        """Send a signal to the store or to a launcher; one that has ended already takes none."""
        self._nursery.zygote.kill(program, signum)

    def start_store(self) -> None:
        """Start a store on a fresh port; an earlier one is left as it is."""
        (self.store_port,) = free_ports(1)
        env: dict[str, str] = {Env.KEY_FILE: f"{self._scratch.name}/key", Env.BIND_ADDRESS: HOST}
        self.store = self._start("dtj_trainer.launch.store", [str(self.store_port)], env)

    def start_worker(self, index: int, env: Mapping[str, str] | None = None) -> Worker:
        """Start one launcher, in the place of an earlier one of the same index.

        Args:
            index: of the worker.
            env: for this one, on top of what all get.
        """
        uid = secrets.token_hex(8)
        metrics_port, control_port = free_ports(2)
        variables = {
            "GLOO_SOCKET_IFNAME": "lo",
            **self._env,
            **(env or {}),
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
            # Of a launcher that is killed, nothing must be left either.
            Env.SCRATCH_DIR: self._scratch.name,
            Env.MEMORY_DIR: f"{self._scratch.name}/memory-{index}",
            Env.TERMINATION_LOG: str(self.termination_log(index)),
        }
        process = self._start("dtj_trainer.launch", ["--", *self._command], variables)
        worker = Worker(index, uid, process, metrics_port, control_port, self._key)
        self.workers = sorted([*(w for w in self.workers if w.index != index), worker], key=lambda w: w.index)
        return worker

    def _start(self, module: str, argv: list[str], env: dict[str, str]) -> Forked:
        program = self._nursery.start(module, argv, env, self._output)
        self._started.append(program)
        return program

    def termination_log(self, index: int) -> Path:
        """Where a launcher writes its first error."""
        return Path(self._scratch.name) / f"termination-{index}"

    def meet(self, *, fewest: int | None = None, stopped: Callable[[], bool] = lambda: False) -> None:
        """Have all launchers meet under the next incarnation, as soon as each listens.

        Args:
            fewest: that may begin; by default all.
            stopped: whether nobody wants that any more.

        Raises:
            LocalError: one of them has ended.
            StoppedError: nobody does.
        """
        self.incarnation += 1
        most = len(self.workers)
        self.message = Meet(self.incarnation, fewest or most, most, f"{HOST}:{self.store_port}")
        for worker in self.workers:
            self._send_when_up(worker, self.message, stopped)

    def let_start(self, reports: Sequence[Report]) -> None:
        """Let the ranks of the newest round start where they wait for it, once all launchers are in that round.

        Args:
            reports: of those that answer; what they tell has been judged.
        """
        rounds = {(report.incarnation, report.round) for report in reports}
        if self.message is None or len(reports) < len(self.workers) or len(rounds) > 1:
            return
        held = {report.index: report.round for report in reports if report.held}
        for worker in self.workers:
            if worker.index in held:
                # One that has just ended is seen to have.
                with contextlib.suppress(OSError):
                    worker.send(replace(self.message, rounds=held[worker.index]))

    def _send_when_up(self, worker: Worker, message: Message, stopped: Callable[[], bool]) -> None:
        while not stopped():
            with contextlib.suppress(OSError):
                status, body = worker.send(message)
                if status != 200:
                    raise LocalError(f"worker {worker.index} refused {message}: {status} {body.decode()}")
                return
            if worker.process.exit:
                raise self.error_of(worker, " before it listened")
            time.sleep(0.05)
        raise StoppedError

    def error_of(self, worker: Worker, when: str = "") -> LocalError:
        """What is to be said of a launcher that has ended, and should not have.

        Args:
            worker: that it belongs to.
            when: it did.
        """
        said = self.termination_log(worker.index)
        code = worker.process.exit.code if worker.process.exit else ExitCode.FAILED
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        text = said.read_text() if said.exists() else ""
        words = f"worker {worker.index} {how}{when}{f': {text}' if text else '; its output says more'}"
        return LocalError(words, max(code, ExitCode.FAILED))
