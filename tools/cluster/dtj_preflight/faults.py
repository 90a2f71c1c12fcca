"""What was found wanting, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """``what`` was found and what is asked for; ``mend`` is the command or the step that helps."""

    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}\n  mend: {self.mend}"
