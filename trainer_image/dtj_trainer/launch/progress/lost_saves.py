"""The saves of this pod's ranks that failed since the last one that was published."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from dtj_api.wire import LostSaves

_TEXT = 512


class SaveLog:
    """What ranks tell of their saves. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self.lost = LostSaves()
        self.total = 0
        """Saves that failed since the launcher began."""
        self._by_rank: Counter[int] = Counter()

    def failed(self, local_rank: int, said: dict[str, Any], now: float) -> None:
        """A save failed; each rank may tell of it, and those that know why say so."""
        step, code, why = said.get("step"), said.get("errno"), str(said.get("why", ""))[:_TEXT]
        self._by_rank[local_rank] += 1
        count = self._by_rank[local_rank]
        if count > self.lost.count:
            self.total += 1
            known = code if type(code) is int and code > 0 else None
            self.lost = LostSaves(count, step if type(step) is int else None, now, known, why)
        elif self.lost.errno is None and type(code) is int and code > 0:
            self.lost = replace(self.lost, errno=code, text=why)

    def published(self) -> None:
        """A later one is there."""
        self.lost = LostSaves()
        self._by_rank.clear()
