"""The control group folders of the nodes.

Two kubelets on one machine need a root of their own each (`/dtj-<cluster>/<node>`). The kubelet makes its folders
below that root but not the root itself; and in version 1 a cpuset folder is born empty, so that no container starts
in it until cpus and mems are copied from above.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from dtj_cluster.errors import ClusterError
from dtj_preflight.machine import hierarchies

_CPUSET = ("cpuset.cpus", "cpuset.mems")


def name(cluster: str, node: str | None = None) -> str:
    """The folder of a cluster, or of one of its nodes, below every hierarchy."""
    return f"dtj-{cluster}" if node is None else f"dtj-{cluster}/{node}"


def create(cluster: str, node: str) -> None:
    """Make the node's folder in every hierarchy."""
    for hierarchy in hierarchies():
        for folder in (hierarchy / name(cluster), hierarchy / name(cluster, node)):
            folder.mkdir(exist_ok=True)
            for file in _CPUSET:
                if hierarchy.name == "cpuset" and not (folder / file).read_text().strip():
                    (folder / file).write_text((folder.parent / file).read_text())
            if (hierarchy / "cgroup.controllers").exists():
                controllers = (folder.parent / "cgroup.controllers").read_text().split()
                (folder.parent / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in controllers))


def left(cluster: str) -> list[Path]:
    """The folders of ``cluster`` that are there."""
    return [folder for hierarchy in hierarchies() if (folder := hierarchy / name(cluster)).is_dir()]


def remove(cluster: str, node: str | None = None, timeout: float = 10) -> None:
    """Remove the folders of ``cluster``, or of one node. Raises ClusterError when processes stay in them longer than
    ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while busy := [
        folder for hierarchy in hierarchies() if not _remove_tree(folder := hierarchy / name(cluster, node))
    ]:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"control group {busy[0]} cannot be removed: processes are still in it",
                f"See `find {busy[0]} -name cgroup.procs | xargs cat`, then run the command again.",
            )
        time.sleep(0.05)


def _remove_tree(folder: Path) -> bool:
    if not folder.is_dir():
        return True
    for below in sorted((entry for entry in folder.rglob("*") if entry.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            below.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.is_dir()
