"""A sentence with its tags, and the error of a file that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dtj_trainer.untrainable import UntrainableError


class DataError(UntrainableError):
    """A data file that cannot be trained on. The text starts with `file:line:`."""

    def __init__(self, file: Path, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.file = file
        self.line = line


@dataclass(frozen=True)
class Sentence:
    """Words with one IOB2 tag each, and where they came from."""

    words: tuple[str, ...]
    """As the file has them; empty where a row has a tag alone."""
    tags: tuple[str, ...]
    file: Path
    line: int
    """Line of the first word, counted from 1."""

    @property
    def text(self) -> str:
        """The words, by blanks."""
        return " ".join(self.words)

    @property
    def parts(self) -> tuple[str, ...]:
        """Words and tags."""
        return (*self.words, *self.tags)
