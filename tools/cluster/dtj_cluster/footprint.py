"""What the programs will change on this machine, and how it is put back.

The kubelet sets a few kernel parameters for good; they are read before and put back by `down`. The nodes mount their
own folders over fixed places of the file system, which must exist for that: those made here are removed again when
empty.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from dtj_cluster import node_init

_KERNEL = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SYSCTL = Path("/proc/sys")


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
