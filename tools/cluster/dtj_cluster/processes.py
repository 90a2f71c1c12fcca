"""Programs that outlive the command that started them, recorded by their identity, so that a later one finds them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import MARK, ProcessIdentity, release
from dtj_cluster.procfs import children, is_zombie, reap, stat_of


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
            identity.end(grace, partial(release, self._root))
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
            found = children(pid)
            if found:
                return found[0]
            stat = stat_of(pid)
            if stat is None or is_zombie(stat):
                break
            time.sleep(0.002)
        reap(pid)
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
