"""The end of a cluster, however its last run ended.

Everything is found twice: by what the cluster recorded (pids, its network's number) and by what only it can have left
(processes that carry its folder in their environment, links labelled with it, mounts below it, control groups of its
name). So clearing after a hard kill is the same code as `down`, and a neighbour's things match neither.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dtj_cluster import cgroups, footprint, network
from dtj_cluster.identity import ProcessIdentity, marked
from dtj_cluster.network import Network
from dtj_cluster.processes import ProcessTable
from dtj_cluster.procfs import boot_id
from dtj_cluster.state import Paths, Phase, State, clusters
from dtj_cluster.together import together

KEPT = frozenset({"nodes", "volume", "logs", "lock"})
_PATIENCE = 120.0
"""Seconds that another process may take to clear an orphan: two nodes full of containers, on a busy machine."""


@dataclass(frozen=True)
class Leftovers:
    """What is there of a cluster on this machine."""

    processes: list[ProcessIdentity] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    control_groups: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.processes or self.mounts or self.links or self.control_groups)


def mounts_below(root: Path, mountinfo: str) -> list[str]:
    """The mount points below ``root`` in a /proc/PID/mountinfo text, innermost first."""
    points = [line.split()[4].replace("\\040", " ") for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{root}/")]


def own_links(root: Path, links: list[dict[str, object]]) -> list[str]:
    """The links of ``ip -json link`` that belong to the cluster in ``root``: its bridge by its label, and what hangs
    on that.
    """
    bridges = [str(link["ifname"]) for link in links if link.get("ifalias") == network.alias(root)]
    return [*(str(link["ifname"]) for link in links if link.get("master") in bridges), *bridges]


def find(paths: Paths, state: State) -> Leftovers:
    """What there is of the cluster on this machine now."""
    links = [] if state.network is None else own_links(paths.root, json.loads(network.run("ip", "-json", "link")))
    return Leftovers(
        processes=marked(paths.root),
        mounts=mounts_below(paths.root, Path("/proc/self/mountinfo").read_text()),
        links=links,
        control_groups=[] if state.network is None else cgroups.left(state.name),
    )


def intact(paths: Paths, state: State) -> bool:
    """True when the last `up` came to its end and what it started as the control plane still runs."""
    processes = ProcessTable(paths.root)
    return (
        state.phase is Phase.UP
        and state.boot == boot_id()
        and all(processes.find(name) for name in ("etcd", "apiserver"))
    )


def clear(paths: Paths, state: State) -> None:
    """Stop and remove all there is of the cluster, the files in `KEPT` apart."""
    state = state.model_copy(update={"phase": Phase.STOPPING})
    paths.save(state)
    processes = ProcessTable(paths.root)
    # A node's first process takes all others of the node with it. Nothing is asked to end nicely, since its data goes
    # too.
    for names in ([name for name in processes.alive() if name.endswith("-init")], list(processes.alive())):
        together([partial(processes.stop, name) for name in names])
    left = find(paths, state)
    together([partial(one.end, 0) for one in left.processes])
    for point in left.mounts:
        network.run("umount", "--lazy", point, check=False)
    if state.network is not None:
        for link in left.links:
            if network.link_exists(link):
                network.run("ip", "link", "delete", link, check=False)
        network.registry_rule_down(Network(state.network))
        cgroups.remove(state.name)
        restore_machine(paths, state)
    _remove_run_files(paths)


def neighbours(paths: Paths) -> list[State]:
    """The other clusters of this user that have nodes and were started in this boot."""
    states = [one.load() for one in clusters() if one != paths]
    return [one for one in states if one is not None and one.network is not None and one.boot == boot_id()]


def take_from_machine(paths: Paths, state: State) -> State:
    """``state`` with a network of its own, and with how the machine was before the first kubelet ran on it."""
    others = neighbours(paths)
    kernel, folders = footprint.kernel_settings(), footprint.missing_folders()
    for other in others:
        kernel.update(other.kernel)
        folders += [folder for folder in other.folders if folder not in folders]
    index = network.choose([one.network for one in others if one.network is not None], network.in_use()).index
    return state.model_copy(update={"network": index, "kernel": kernel, "folders": folders})


def restore_machine(paths: Paths, state: State) -> None:
    """Put back what the kubelets changed, unless nodes of another cluster still run: the last one hands it back."""
    if not neighbours(paths):
        footprint.restore_kernel(state.kernel)
        footprint.remove_folders(state.folders)


def _remove_run_files(paths: Paths) -> None:
    for node in paths.node("x").parent.glob("*"):
        for entry in node.iterdir():
            if entry.name != "containerd":
                _remove(entry)
    for entry in paths.root.iterdir():
        if entry.name not in KEPT and entry != paths.file:
            _remove(entry)
    paths.file.unlink(missing_ok=True)


def remove_files(paths: Paths) -> None:
    """Remove the cluster's folder with all that is in it."""
    shutil.rmtree(paths.root, ignore_errors=True)


def clear_orphans() -> None:
    """Clear the clusters whose owner has died without saying goodbye. Several processes may come upon the same one at
    once, as the tests' do: one clears it, the others wait until it is gone.
    """
    for paths in clusters():
        if _orphaned(paths):
            with paths.locked(patience=_PATIENCE):
                state = _orphaned(paths)
                if state is not None:
                    clear(paths, state)
                if (state is not None and state.options.control_plane_only) or _holds_nothing(paths):
                    remove_files(paths)


def _holds_nothing(paths: Paths) -> bool:
    """Only the lock is there: whoever waited for another one's removal has made the folder anew."""
    return {entry.name for entry in paths.root.iterdir()} <= {"lock"}


def _orphaned(paths: Paths) -> State | None:
    state = paths.load()
    return None if state is None or state.owner is None or state.owner.alive() else state


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
