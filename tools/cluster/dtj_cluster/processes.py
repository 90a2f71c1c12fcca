"""Programs that outlive the command that started them, and can be found and ended safely later.

A pid alone is not an identity: after the program ends the kernel gives its number to somebody else, and a `down` that
trusts a pid file then kills a stranger. So each record holds the pid, the time the kernel says it started (in clock
ticks since boot) and the boot id; a signal goes through a pidfd that is opened before those are compared, which
leaves no gap to be recycled in.

Between the start of a program and the writing of its record a hard kill can strike. Therefore each program also
carries the cluster's state directory in its environment (`MARK`), by which `marked` finds the unrecorded ones.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dtj_cluster.errors import ClusterError

MARK = "DTJ_CLUSTER_STATE"
_PROC = Path("/proc")


def boot_id() -> str:
    """The kernel's identifier of this boot; records of another boot name nobody."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_ticks(stat: str) -> int:
    """Field 22 of a /proc/PID/stat line; the command name before it may hold spaces and parentheses."""
    return int(stat.rpartition(")")[2].split()[19])


def _is_zombie(stat: str) -> bool:
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def _stat(pid: int) -> str | None:
    try:
        return (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of one boot, never mistaken for a later one with the same pid."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of a live process, or None when there is none."""
        stat = _stat(pid)
        return None if stat is None else cls(pid, start_ticks(stat), boot_id())

    def alive(self) -> bool:
        """True while this very process runs; a zombie counts as ended, and is reaped when it is ours."""
        stat = _stat(self.pid)
        if stat is None or start_ticks(stat) != self.started or self.boot != boot_id():
            return False
        if _is_zombie(stat):
            _reap(self.pid)
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

    def end(self, grace: float) -> None:
        """SIGTERM, ``grace`` seconds, then SIGKILL. Raises ClusterError when even that leaves it alive."""
        if grace > 0 and self.send(signal.SIGTERM) and self.wait(grace):
            return
        if self.send(signal.SIGKILL) and not self.wait(20):
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


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def marked(root: Path) -> list[ProcessIdentity]:
    """The live processes that carry ``root`` as their cluster in their environment, recorded or not."""
    wanted = f"{MARK}={root}".encode()
    found = []
    for entry in _PROC.iterdir():
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


def environment() -> dict[str, str]:
    """What programs get of our environment; a user's PATH often lacks the folders of system programs."""
    mine = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
    return {**mine, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"}


def argv(program: Path, flags: Mapping[str, object]) -> list[str]:
    """The command line of ``program`` with ``--name=value`` for each flag."""
    return [str(program), *(f"--{name}={value}" for name, value in flags.items())]


class ProcessTable:
    """The programs of one cluster: started by name, recorded one file each, logged one file each."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._records = root / "pids"
        self._logs = root / "logs"
        self._cancelled = threading.Event()

    def log(self, name: str) -> Path:
        """Where the output of ``name`` goes."""
        return self._logs / f"{name}.log"

    def cancel(self) -> None:
        """Start and wait for nothing more: threads that are at it fail at once."""
        self._cancelled.set()

    def forget_logs(self) -> None:
        """Remove the logs of an earlier run, which stay after its end for whoever asks why it failed."""
        for log in self._logs.glob("*.log"):
            log.unlink()

    def find(self, name: str) -> ProcessIdentity | None:
        """The recorded process called ``name`` if it is alive."""
        identity = self._load(self._records / f"{name}.json")
        return identity if identity is not None and identity.alive() else None

    def alive(self) -> dict[str, ProcessIdentity]:
        """All recorded processes that are alive, by name."""
        return {name: identity for name, identity in self._all() if identity is not None and identity.alive()}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        inside: ProcessIdentity | None = None,
    ) -> ProcessIdentity:
        """Start ``argv`` in a session of its own unless ``name`` is alive already; ``inside`` the namespaces of
        another process.
        """
        running = self.find(name)
        if running is not None:
            return running
        self._check_cancelled(name)
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        if inside is not None:
            argv = ["nsenter", "--target", str(inside.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--", *argv]
        pid = self._spawn(argv, self.log(name))
        if inside is not None or Path(argv[0]).name == "unshare":
            pid = self._only_child(pid, name)
        identity = ProcessIdentity.of(pid)
        if identity is None:
            raise self._died(name)
        temporary = self._records / f".{name}.new"
        temporary.write_text(json.dumps(asdict(identity)))
        temporary.rename(self._records / f"{name}.json")
        return identity

    def stop(self, name: str, grace: float = 0) -> None:
        """End ``name``, by SIGKILL after ``grace`` seconds, and drop its record; nothing happens when it is not
        running.
        """
        identity = self.find(name)
        if identity is not None:
            identity.end(grace)
        (self._records / f"{name}.json").unlink(missing_ok=True)

    def wait_for(self, name: str, condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
        """Poll until ``condition`` holds. Raises ClusterError as soon as ``name`` has died, or after ``timeout``
        seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self._check_cancelled(name)
            if self.find(name) is None:
                raise self._died(name)
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{name}: {what} did not come within {timeout:.0f} s", f"See {self.log(name)}.\n{self._tail(name)}"
                )
            time.sleep(0.05)

    def _spawn(self, argv: Sequence[str], log: Path) -> int:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            return os.posix_spawnp(
                argv[0],
                list(argv),
                {**environment(), MARK: str(self._root)},
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ),
            )
        except FileNotFoundError:
            raise ClusterError(
                f"program {argv[0]} is not there", "Install it, or run `cluster up`, which builds what is missing."
            ) from None

    def _only_child(self, pid: int, name: str) -> int:
        """nsenter and unshare fork into the new pid namespace and wait: the program is their child."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                children = (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
            except OSError:
                break
            if children:
                return int(children[0])
            stat = _stat(pid)
            if stat is None or _is_zombie(stat):
                break
            time.sleep(0.002)
        _reap(pid)
        raise self._died(name)

    def _check_cancelled(self, name: str) -> None:
        if self._cancelled.is_set():
            raise ClusterError(f"{name}: given up, since another part failed or the command was interrupted")

    def _died(self, name: str) -> ClusterError:
        return ClusterError(f"{name} ended right after its start", f"See {self.log(name)}.\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(f"  | {line[:300]}" for line in lines[-8:])

    def _all(self) -> Iterator[tuple[str, ProcessIdentity | None]]:
        for record in sorted(self._records.glob("*.json")):
            yield record.stem, self._load(record)

    @staticmethod
    def _load(record: Path) -> ProcessIdentity | None:
        try:
            return ProcessIdentity(**json.loads(record.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
