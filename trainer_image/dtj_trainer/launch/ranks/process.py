"""What Linux does for, and knows of, a family of processes, and Python does not offer."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

from dtj_trainer.launch.ranks.shell_text import SHELLS

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends, so that a killed launcher leaves no ranks behind.

    Args:
        parent: pid of the parent as it was before the fork: if it is gone already, no signal would come.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all descendants that lose theirs, in whatever session they are."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int | None = None) -> set[int]:
    """The pids of a process's children, ended ones too until they are reaped.

    Args:
        pid: of the process; None: this one.
    """
    found: set[int] = set()
    # A process or a thread of it may have ended, or the kernel does not tell.
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid or 'self'}/task").iterdir():
            with contextlib.suppress(OSError):
                found |= {int(child) for child in (thread / "children").read_text().split()}
    return found


def members(group: int) -> set[int]:
    """The pids of a process group, ended ones too until they are reaped."""
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        # It may end meanwhile, and not all in there are processes.
        with contextlib.suppress(OSError, ValueError):
            pid = int(process.name)
            # Behind the name, in which there may be anything: state, parent, group.
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                found.add(pid)
    return found


def name_of(pid: int) -> str:
    """What a process is called, with its pid."""
    try:
        return f"{pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return str(pid)


def reap_orphans() -> dict[int, int]:
    """Collect the exit statuses of all ended children, as PID 1 must: pid to exit code, or minus the signal."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def handlers(pid: int, signum: int) -> list[int]:
    """The processes that have a handler for a signal: this one or, behind a shell that has none, those that it runs.

    A shell that waits for a command dies of the signal, and hands it on to nobody.
    """
    if handles(pid, signum):
        return [pid]
    try:
        program = Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return []
    if program not in SHELLS | {"busybox"}:
        return []
    return [found for child in sorted(children(pid)) for found in handlers(child, signum)]


def handles(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal; False also where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (signum - 1) & 1)
