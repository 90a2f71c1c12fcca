"""What the kernel tells of processes, in /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PROC = Path("/proc")


def boot_id() -> str:
    """The kernel's identifier of this boot; records of another boot name nobody."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_ticks(stat: str) -> int:
    """Field 22 of a /proc/PID/stat line; the command name before it may hold spaces and parentheses."""
    return int(stat.rpartition(")")[2].split()[19])


def run_state(stat: str) -> str:
    """Field 3 of such a line: one letter."""
    return stat.rpartition(")")[2].split()[0]


def is_zombie(stat: str) -> bool:
    """Whether it has ended, as such a line says."""
    return run_state(stat) in {"Z", "X"}


def stat_of(pid: int) -> str | None:
    """Its line; None when there is no such process."""
    try:
        return (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(pid: int) -> list[int]:
    """What any thread of ``pid`` started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in (PROC / str(pid) / "task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def has_ended(pid: int) -> bool:
    """Whether it has ended, collected by its parent or not."""
    stat = stat_of(pid)
    return stat is None or is_zombie(stat)


def reap(pid: int) -> None:
    """Collect it if it is a child of ours that has ended."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
