"""What must hold before anything is made, and what the programs will change on this machine.

The kubelet sets a few kernel parameters for good; they are read before and put back by `down`. The nodes mount their
own folders over fixed places of the file system, which must exist for that: those made here are removed again when
empty.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterable
from pathlib import Path

from dtj_cluster import node_init
from dtj_cluster.errors import ClusterError
from dtj_cluster.state import Options

# Bits of CapEff in /proc/self/status.
_CAPABILITIES = {"CAP_CHOWN": 0, "CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}
_KERNEL = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SYSCTL = Path("/proc/sys")


def check(options: Options) -> None:
    """Raise ClusterError when this machine cannot run what ``options`` ask for."""
    if platform.system() != "Linux":
        raise ClusterError(
            f"this is {platform.system()}; the nodes are Linux namespaces",
            "Run it on Linux, or use CLUSTER=kind with Docker.",
        )
    if options.control_plane_only:
        return
    missing = missing_capabilities(Path("/proc/self/status").read_text())
    if missing:
        raise ClusterError(
            f"this process lacks {', '.join(missing)}, which real nodes need",
            "Run as root (in a container: with --privileged), or use --control-plane-only, which needs none.",
        )
    if "overlay" not in Path("/proc/filesystems").read_text():
        raise ClusterError(
            "the kernel has no overlay file system, which containerd needs", "Load it: `modprobe overlay`."
        )


def missing_capabilities(status: str) -> list[str]:
    """The needed capabilities that a /proc/PID/status text does not show as effective."""
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def kernel_settings() -> dict[str, str]:
    """The kernel parameters that the kubelet changes, as they are now."""
    return {name: (_SYSCTL / name).read_text().strip() for name in _KERNEL if (_SYSCTL / name).exists()}


def restore_kernel(settings: dict[str, str]) -> None:
    """Put the parameters back."""
    for name, value in settings.items():
        if (_SYSCTL / name).read_text().strip() != value:
            (_SYSCTL / name).write_text(value)


def missing_folders() -> list[str]:
    """The fixed places that do not exist on this machine yet, parents first."""
    return [place for place in node_init.PLACES if not Path(place).exists()]


def remove_folders(folders: Iterable[str]) -> None:
    """Remove those that are still empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
