"""Where one cluster keeps its files, and what it wrote down about itself.

The state file is written before the thing that it describes is made: whatever a hard kill leaves behind can be found
from the file, and nothing that is not in it is ever touched. A cluster that lives only as long as a process (a
test's) names that process as its owner, so that the next run can tell a leftover from a neighbour that is still at
work.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")
_LONGEST_SOCKET = 107
# The namespaces of a node mount their own file systems there, which would hide the cluster's files from it.
_HIDDEN = ("/run", "/var/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet", "/proc", "/sys", "/dev")


class Phase(StrEnum):
    """How far the last command got; anything but UP with no command at work is a leftover."""

    STARTING = "Starting"
    UP = "Up"
    STOPPING = "Stopping"


class Options(BaseModel):
    """What the user asked for. ``client_qps`` raises the client limits of the controllers and the scheduler (None:
    their defaults).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: int = Field(default=2, ge=0, le=32)
    fake_nodes: int = Field(default=0, ge=0, le=5000)
    control_plane_only: bool = False
    gpus_per_node: int = Field(default=0, ge=0, le=64)
    client_qps: int | None = Field(default=None, ge=1)

    @classmethod
    def checked(cls, **values: object) -> Options:
        """The options with these values. Raises ClusterError that names the value and what is allowed."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0]).replace("_", "-")
            raise ClusterError(f"{option}: {first['input']} is not allowed: {first['msg']}") from None


class State(BaseModel):
    """What one cluster has taken of this machine."""

    model_config = ConfigDict(extra="forbid")

    name: str
    boot: str
    phase: Phase
    options: Options
    ports: dict[str, int] = {}
    network: int | None = None
    kernel: dict[str, str] = {}
    folders: list[str] = []
    owner: ProcessIdentity | None = None


def state_home() -> Path:
    """The folder of all clusters of this user: ``$XDG_STATE_HOME/dtj``, by default ``~/.local/state/dtj``."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "dtj"


@dataclass(frozen=True)
class Paths:
    """The files of one cluster."""

    root: Path

    @classmethod
    def of(cls, name: str) -> Paths:
        """The paths of the cluster called ``name``. Raises ClusterError for a name that cannot be."""
        if not _NAME.fullmatch(name):
            raise ClusterError(
                f"cluster name {name!r} is not a name",
                "Use at most 30 lower-case letters, digits and dashes, no dash at the ends: --name my-test.",
            )
        return cls(state_home().absolute() / f"cluster-{name}")

    def check_for_nodes(self) -> None:
        """Raise ClusterError when the folder lies where nodes cannot see it or sockets cannot be."""
        if str(self.root).startswith(tuple(f"{place}/" for place in _HIDDEN)):
            raise ClusterError(
                f"the state folder {self.root} would be hidden from the nodes",
                "Set XDG_STATE_HOME to a folder elsewhere, for instance ~/.local/state.",
            )
        longest = str(self.node("node-00") / "containerd.sock.ttrpc")
        if len(longest) > _LONGEST_SOCKET:
            raise ClusterError(
                f"the socket path {longest} is {len(longest)} characters long; the kernel takes {_LONGEST_SOCKET}",
                "Use a shorter --name, or set XDG_STATE_HOME to a shorter folder.",
            )

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, self-contained."""
        return self.root / "kubeconfig"

    @property
    def volume(self) -> Path:
        """The directory that all nodes share."""
        return self.root / "volume"

    @property
    def file(self) -> Path:
        """The state file."""
        return self.root / "state.json"

    def component(self, name: str) -> Path:
        """The kubeconfig of a component."""
        return self.root / "kubeconfigs" / f"{name}.kubeconfig"

    def node(self, name: str) -> Path:
        """The folder of one node."""
        return self.root / "nodes" / name

    def load(self) -> State | None:
        """The recorded state, None when there is none. Raises ClusterError for a damaged file."""
        try:
            return State.model_validate_json(self.file.read_text())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ClusterError(
                f"{self.file} is damaged: {error.errors()[0]['msg']}",
                "Bring that cluster down with the version of this tool that made it, then remove the file.",
            ) from None

    def save(self, state: State) -> None:
        """Write the state at once or not at all."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / ".state.json.new"
        temporary.write_text(state.model_dump_json(indent=1))
        temporary.rename(self.file)

    @contextmanager
    def locked(self, patience: float = 0) -> Iterator[None]:
        """Hold this cluster for one command. Raises ClusterError when another one is still at work on it after
        ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        while (handle := self._try_to_lock()) is None:
            if time.monotonic() >= deadline:
                raise ClusterError(f"another command is at work on {self.root}", "Wait for it to end, then try again.")
            time.sleep(0.1)
        with handle:
            yield

    def _try_to_lock(self) -> TextIO | None:
        """The lock's open file, held; None: another one holds it, or has removed it with the folder."""
        path = self.root / "lock"
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            handle = path.open("w")
        except FileNotFoundError:
            return None
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        handle.close()
        return None


@contextmanager
def all_locked() -> Iterator[None]:
    """Hold what the clusters of this user choose among them (networks) for a moment."""
    home = state_home()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def clusters() -> list[Paths]:
    """All clusters of this user that left a state file."""
    return [Paths(file.parent) for file in sorted(state_home().glob("cluster-*/state.json"))]
