"""A local job for tests: real launchers whose output is a file, and what tests want to wait for."""

import contextlib
import os
import pathlib
import signal
import sys
import time

import pytest

from dtj_api.wire import Report
from dtj_trainer.launch.local.job import LocalJob, Worker
from dtj_trainer.launch.local.nursery import Nursery

PATIENCE = 60.0


class Job(LocalJob):
    """A local job whose output is a file, with what tests ask of it."""

    def __init__(self, folder: pathlib.Path, nursery: Nursery, command: list[str], **options):
        self.folder = folder
        self._last: dict[str, Report] = {}
        self.log = folder / "output.log"
        self._file = self.log.open("ab")
        options.setdefault("work_dir", folder / "work")
        env = {"DTJ_HEARTBEAT": "1", "TEST_FOLDER": str(folder), **options.pop("env", {})}
        command = [sys.executable if word == "python" else word for word in command]
        super().__init__(command, nursery=nursery, output=self._file.fileno(), env=env, **options)

    def __exit__(self, *error):
        super().__exit__(*error)
        self._file.close()

    def begin(self, workers: int, *, meet: bool = True):
        self.start_store()
        for index in range(workers):
            self.start_worker(index)
        if meet:
            self.meet()
        return self

    def output(self) -> str:
        return self.log.read_text()

    def wait(self, what, wanted, patience=PATIENCE):
        """Look until `wanted()` is true, and return it; what the launchers said is shown when it never is."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if found := wanted():
                return found
            time.sleep(0.02)
        reports = "\n".join(f"  {worker.report()}" for worker in self.workers)
        raise AssertionError(f"never seen: {what}\n{reports}\n{self.output()}")

    def reports(self) -> list[Report]:
        """The last report of each launcher that has ever answered; one that has ended answers no more."""
        for worker in self.workers:
            if report := worker.report():
                self._last[worker.uid] = report
        return [self._last[worker.uid] for worker in self.workers if worker.uid in self._last]

    def wait_reports(self, what, wanted, patience=PATIENCE) -> list[Report]:
        """Look until all launchers answer, and each report is as wanted."""

        def look():
            reports = self.reports()
            return reports if len(reports) == len(self.workers) and all(map(wanted, reports)) else None

        return self.wait(what, look, patience)

    def wait_step(self, step, *, round=1, incarnation=1):
        """Look until rank 0's pod reports at least this step, in at least this round of the incarnation."""
        return self.wait_reports(
            f"step {step} in round {round} of incarnation {incarnation}",
            lambda r: (
                r.incarnation == incarnation
                and r.round >= round
                and r.progress.step
                and r.progress.step >= step
                and self.began(r.incarnation, r.round)
            ),
        )

    def began(self, incarnation, round) -> bool:
        """Whether a rank of this round has made its first step: the script leaves a file."""
        return (self.folder / f"stepped-{incarnation}-{round}").exists()

    def pids(self, incarnation=1, round=1) -> dict[int, int]:
        """Global rank to pid, once all ranks of a round have said so."""
        files = {int(p.name.rpartition("-")[2]): p for p in self.folder.glob(f"pid-{incarnation}-{round}-*")}
        return {rank: int(path.read_text()) for rank, path in files.items() if path.read_text()}

    def kill_rank(self, rank, *, incarnation=1, round=1, signum=signal.SIGKILL) -> float:
        """Kill a rank; when that was."""
        pid = self.pids(incarnation, round)[rank]
        os.kill(pid, signum)
        return time.monotonic()

    def exit_code(self, worker: Worker, patience=PATIENCE) -> int:
        # Looking at the reports is what the operator does: a launcher that is done waits for its last one to be seen.
        self.wait(f"the end of worker {worker.index}", lambda: (self.reports(), worker.process.exit)[1], patience)
        assert worker.process.exit
        return worker.process.exit.code


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def nursery():
    """The process that launchers are forked from: one import of torch for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        one = Nursery()
    yield one
    one.close()


@pytest.fixture
def start(tmp_path, nursery, request):
    """Start a job: `start(workers, "script.py", *args, env=..., ...)`, the script from `scripts` beside the test."""
    scripts = request.path.parent / "scripts"
    with contextlib.ExitStack() as stack:

        def begin(workers, *words, meet=True, **options) -> Job:
            command = ["python", str(scripts / words[0]), *words[1:]] if words[0].endswith(".py") else list(words)
            job = stack.enter_context(Job(tmp_path, nursery, command, **options))
            return job.begin(workers, meet=meet)

        yield begin
