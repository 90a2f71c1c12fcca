"""Stacks of all threads of a rank, for whoever asks from outside: the rank itself hangs.

Python's fault handler waits in each forked rank for a signal of its own and writes the stacks from the signal handler
itself; so it works while the rank is blocked in C code. A rank that is stopped, or in the kernel for good, has none.
"""

from __future__ import annotations

import faulthandler
import os
import signal

SIGNAL = signal.SIGRTMIN + 6
"""None that a framework uses for itself."""
FILE = "DTJ_STACK_FILE"
"""Where the rank writes them."""


def write_on_signal(path: str) -> None:
    """In a rank: have the stacks written to a file when the launcher asks."""
    # The descriptor stays open as long as the process: the handler writes to it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    faulthandler.register(SIGNAL, file=descriptor, all_threads=True, chain=False)
