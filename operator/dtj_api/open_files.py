"""How many files a process may have open: each connection is one, and container runtimes begin with 1,024.

Standard library only (the rendezvous store runs it).
"""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

_INFINITE = resource.RLIM_INFINITY
_OF_THE_KERNEL = Path("/proc/sys/fs/nr_open")


def raise_limit(wanted: int | None = None) -> None:
    """Raise the soft limit, as far as the hard one and the kernel let it; one that is higher stays.

    Where nothing may be raised the process goes on with what it has.

    Args:
        wanted: files; None: as many as there may be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if wanted is None else _least(wanted, hard)
    if _least(most, soft) == most:
        return
    # A hard limit above fs.nr_open, as one without end, may be inherited and not be set, not even as it is.
    for bound in (_INFINITE, _allowed()):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_least(most, bound), _least(hard, bound)))
            return


def _least(one: int, other: int) -> int:
    # Without end is -1.
    return max(one, other) if _INFINITE in (one, other) else min(one, other)


def _allowed() -> int:
    try:
        return int(_OF_THE_KERNEL.read_text())
    except (OSError, ValueError):
        return _INFINITE
