"""Processes that are told apart from all others, and can be ended safely.

A pid alone is not an identity: after the program ends the kernel gives its number to somebody else, and a `down` that
trusts a pid file then kills a stranger. So each record holds the pid, the time the kernel says it started (in clock
ticks since boot) and the boot id; a signal goes through a pidfd that is opened before those are compared, which
leaves no gap to be recycled in.

Between the start of a program and the writing of its record a hard kill can strike. Therefore each program also
carries the cluster's state directory in its environment (`MARK`), by which `marked` finds the unrecorded ones.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtj_cluster.errors import ClusterError
from dtj_cluster.procfs import PROC, boot_id, children, has_ended, is_zombie, reap, run_state, start_ticks, stat_of

MARK = "DTJ_CLUSTER_STATE"


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of one boot, never mistaken for a later one with the same pid."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of a live process, or None when there is none."""
        stat = stat_of(pid)
        return None if stat is None else cls(pid, start_ticks(stat), boot_id())

    def alive(self) -> bool:
        """True while this very process runs; a zombie counts as ended, and is reaped when it is ours."""
        stat = stat_of(self.pid)
        if stat is None or start_ticks(stat) != self.started or self.boot != boot_id():
            return False
        if is_zombie(stat):
            reap(self.pid)
            return False
        return True

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; False when it has ended."""
        handle = self._open()
        if handle is None:
            return False
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the end; True when it has ended."""
        handle = self._open()
        if handle is None:
            return True
        try:
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            return bool(poller.poll(timeout * 1000)) and not self.alive()
        finally:
            os.close(handle)

    def end(self, grace: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """SIGTERM, ``grace`` seconds, then SIGKILL. Raises ClusterError when even that leaves it alive.

        ``meanwhile`` is called again and again until it has ended, for what keeps it from ending.
        """
        if grace > 0 and self.send(signal.SIGTERM) and self.wait(grace):
            return
        if not self.send(signal.SIGKILL):
            return
        deadline = time.monotonic() + 20
        while not self.wait(0.2):
            meanwhile()
            if time.monotonic() < deadline:
                continue
            raise ClusterError(
                f"process {self.pid} is still there 20 s after SIGKILL",
                f"It hangs in the kernel; see `cat /proc/{self.pid}/stack`, then run the command again.",
            )

    def _open(self) -> int | None:
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.alive():
            return handle
        os.close(handle)
        return None


def marked(root: Path) -> list[ProcessIdentity]:
    """The live processes that carry ``root`` as their cluster in their environment, recorded or not."""
    wanted = f"{MARK}={root}".encode()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        identity = ProcessIdentity.of(int(entry.name)) if wanted in environment else None
        if identity is not None and identity.alive():
            found.append(identity)
    return found


def descendants(top: ProcessIdentity) -> list[ProcessIdentity]:
    """What ``top`` started, and what that started, as far as it is alive and was not handed to another parent."""
    found: list[ProcessIdentity] = []
    for pid in children(top.pid):
        child = ProcessIdentity.of(pid)
        if child is not None:
            found += [child, *descendants(child)]
    return found


def release(root: Path) -> None:
    """Let the stopped parents of ended programs of the cluster in ``root`` go on.

    nsenter and unshare stop with the program that they wait for. Until such a parent has collected its child, the
    kernel does not let the first process of their namespaces end, however hard it was killed.
    """
    for parent in marked(root):
        stat = stat_of(parent.pid)
        if stat is not None and run_state(stat) in {"T", "t"} and any(map(has_ended, children(parent.pid))):
            parent.send(signal.SIGCONT)
