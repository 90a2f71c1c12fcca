"""What is read of one entry of a job's folder: a checkpoint's name and state, and the note of an incarnation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtj.files import read_object
from dtj.manifest import OtherFormatError

STATE_FILE = "dtj.json"
FORMAT = 1
"""Of the notes, and of what is to be concluded from them."""
BAD = ".bad"
"""Behind the name of a checkpoint that was found damaged."""
_NAME = re.compile(r"step-(\d+)\.i(\d+)")


class DamagedError(RuntimeError):
    """Checkpoints were published, and none of them can be restored."""


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint by its name."""

    incarnation: int
    step: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"step-{self.step}.i{self.incarnation}"

    @classmethod
    def parse(cls, name: str) -> Checkpoint | None:
        """From the name of a folder; None if it is none."""
        match = _NAME.fullmatch(name)
        return cls(incarnation=int(match[2]), step=int(match[1])) if match else None


def read_state(path: Path) -> dict[str, Any] | None:
    """What the library keeps in a checkpoint; None if it is not there or torn.

    Raises:
        OSError: the volume failed, which says nothing of the checkpoint.
    """
    try:
        state = read_object(path / STATE_FILE)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return state


def is_complete(path: Path, step: int) -> bool:
    """Whether the library's own part of a checkpoint is there, and of its step."""
    state = read_state(path)
    return state is not None and state.get("step") == step


def is_best(path: Path) -> bool:
    """Whether a checkpoint is marked as better than all before it."""
    return (read_state(path) or {}).get("best") is True


def restored_by(path: Path) -> str | None:
    """The checkpoint that an incarnation noted; None: it noted that it began anew, or nothing."""
    try:
        note = read_object(path)
        if (found := note.get("format", FORMAT)) != FORMAT:
            raise OtherFormatError(path, found, FORMAT)
        restored: str | None = note["restored"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        raise DamagedError(
            f"{path} cannot be read; it should say which checkpoint its incarnation began from, as "
            '{"restored": "step-40.i1"}, or null where it began anew: write that'
        ) from None
    return restored
