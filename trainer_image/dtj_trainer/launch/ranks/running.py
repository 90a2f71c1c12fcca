"""Commands that start ranks themselves, among what runs: where no reading of words tells, as behind `$CMD` or `make`.

Looked for are a rank's own process and what it runs through shells and the like. What a script of Python starts is its
own affair.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dtj_trainer.launch.ranks.nested import refuse_nested
from dtj_trainer.launch.ranks.process import children
from dtj_trainer.launch.ranks.wrappers import is_python

EVERY = 0.5
"""Seconds between two looks while a round is young: torchrun takes longer to import torch."""
YOUNG = 60.0
RARELY = 10.0
"""The same later on: something may be installed first."""
_DEEPEST = 16


class NestedWatch:
    """Looks now and then at what a pod's ranks have become.

    Args:
        processes: ranks of this pod.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._began = self._next = 0.0

    def begin(self) -> None:
        """The ranks of a round have been started."""
        self._began = self._next = time.monotonic()

    def look(self, pids: Sequence[int]) -> None:
        """Look, if it is time to.

        Args:
            pids: of ranks that are subprocesses.

        Raises:
            BadConfigError: one of them starts ranks itself; with the line to write.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (EVERY if now - self._began < YOUNG else RARELY)
        for pid in pids:
            for words in _commands(pid):
                refuse_nested(words, self._processes)


def _commands(pid: int, depth: int = 0) -> Iterator[list[str]]:
    """The words of a process, and of those that it runs; not of those that a script of Python runs."""
    words = _words(pid)
    if not words:
        return
    yield words
    if not is_python(words[0]) and not _is_python_inside(pid) and depth < _DEEPEST:
        for child in sorted(children(pid)):
            yield from _commands(child, depth + 1)


def _is_python_inside(pid: int) -> bool:
    """Whether a process runs an interpreter, whatever it calls itself (setproctitle, a link)."""
    try:
        return is_python(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []
