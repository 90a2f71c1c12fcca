"""A worker that stood still while it was given up, and then goes on: nothing that it writes is ever read."""

import contextlib
import os
import pathlib
import random
import signal
import time

import pytest


def family(pid: int) -> list[int]:
    """A process with all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def send(pids: list[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def published(job, incarnation: int) -> list[str]:
    return [path.name for path in (job.folder / "work" / "checkpoints").glob(f"step-*.i{incarnation}")]


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_what_it_writes_is_never_read(start, times):
    dice = random.Random(times)
    job = start(2, "train.py", "1000000", "0.005", env={"DTJ_SAVE_EVERY_STEPS": "5"})
    zombies: list[list[int]] = []
    try:
        for incarnation in range(1, times + 1):
            job.wait(f"a save in incarnation {incarnation}", lambda number=incarnation: published(job, number))
            time.sleep(dice.random() * 0.1)
            # Worker 0 has rank 0, which saves: mostly that one.
            victim = job.workers[int(dice.random() < 0.3)]
            stopped = family(victim.process.pid)
            send(stopped, signal.SIGSTOP)
            job.start_worker(victim.index)
            job.meet()
            job.wait_step(1, incarnation=incarnation + 1)
            zombies.append(stopped)
            send(stopped[::-1], signal.SIGCONT)

            restored = (job.folder / f"restored-{incarnation + 1}-1-0").read_text()
            assert restored.endswith(f".i{incarnation}"), "the newest incarnation that saved is gone on from"
            if len(zombies) > 3:
                send(zombies.pop(0), signal.SIGKILL)
    finally:
        for each in zombies:
            send(each, signal.SIGKILL)
