"""Columns to sentences: one word a line, the word first and its tag last.

The trap is white space. Columns are apart by TAB, or by blanks where the file's first row has no TAB; every other space
that Unicode knows (no-break, narrow, ideographic) belongs to the word that it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtj_trainer.data.schemes import Scheme, TagError, split_tag
from dtj_trainer.data.sentences import DataError

DOCUMENT_START = "-DOCSTART-"
_DOCUMENT = re.compile(r"#(begin|end) document\b")
_COMMENT = re.compile(r"#(\s|$)")
_KEYED_COMMENT = re.compile(r"#\s+(\S+\s+=(\s|$)|(newdoc|newpar)\b)")
_BLANKS = re.compile(r"[ \t]+")
_OTHER_LINE_ENDS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
_ROW_NUMBER = re.compile(r"\d+([-.]\d+)?")


@dataclass(frozen=True)
class Raw:
    """Words and tags as the file has them, with the line of every word. An empty word is a row of a tag alone."""

    words: list[str]
    tags: list[str]
    lines: list[int]


def read_conll(path: Path, lines: Sequence[str], scheme: Scheme) -> list[Raw]:
    """The sentences of a file's lines.

    They are apart by lines without text, by -DOCSTART- whatever its columns, and by the document lines of CoNLL-2012.
    Comments may stand before a sentence, as CoNLL-U has them.

    Raises:
        DataError: a row with another number of columns than the first, without a tag, or that is numbered first.
    """
    sentences = list(_sentences(path, lines, scheme))
    _expect_words(path, sentences)
    return sentences


def _sentences(path: Path, lines: Sequence[str], scheme: Scheme) -> Iterator[Raw]:
    shape: _Shape | None = None
    raw = Raw([], [], [])
    for number, line in enumerate(lines, start=1):
        if _ends_sentence(line):
            if raw.words:
                yield raw
                raw = Raw([], [], [])
            continue
        if not raw.words and _is_comment(line, shape, scheme):
            continue
        shape = shape or _Shape.of(line)
        word, tag = shape.read(path, number, line)
        raw.words.append(word)
        raw.tags.append(tag)
        raw.lines.append(number)
    if raw.words:
        yield raw


@dataclass(frozen=True)
class _Shape:
    """What the first row decides for all."""

    tabs: bool
    columns: int

    @classmethod
    def of(cls, line: str) -> _Shape:
        tabs = "\t" in line
        return cls(tabs, max(2, len(cls(tabs, 0).cells(line))))

    def cells(self, line: str) -> list[str]:
        if self.tabs:
            return [cell.strip(" ") for cell in line.split("\t")]
        return _BLANKS.split(line.strip(" \t"))

    def read(self, path: Path, number: int, line: str) -> tuple[str, str]:
        """Word and tag of a row."""
        cells = self.cells(line)
        if not self.tabs and len(cells) == self.columns - 1 and line.startswith((" ", "\t")):
            cells = ["", *cells]
        if len(cells) != self.columns:
            apart = "TAB" if self.tabs else "blanks"
            raise DataError(
                path,
                number,
                f"{len(cells)} columns, expected {self.columns} apart by {apart}: a word first and its tag last",
            )
        for cell in cells[1:]:
            if found := _OTHER_LINE_ENDS.search(cell):
                raise DataError(
                    path, number, f"the character U+{ord(found[0]):04X} behind a word; end lines by LF, CRLF or CR"
                )
        if not cells[-1]:
            raise DataError(path, number, "the tag is empty")
        return cells[0], cells[-1]


def _ends_sentence(line: str) -> bool:
    first = _BLANKS.split(line.strip(" \t"), maxsplit=1)[0]
    return not line.strip() or first == DOCUMENT_START or _DOCUMENT.match(line) is not None


def _is_comment(line: str, shape: _Shape | None, scheme: Scheme) -> bool:
    """Whether a line before a sentence is a comment, and no row whose word is `#`."""
    if _KEYED_COMMENT.match(line):
        return True
    if not _COMMENT.match(line):
        return False
    if shape is not None:
        return len(shape.cells(line)) != shape.columns
    try:
        split_tag(_BLANKS.split(line.strip(" \t"))[-1], scheme)
    except TagError:
        return True
    return False


def _expect_words(path: Path, sentences: Sequence[Raw]) -> None:
    """Refuse a file whose first column counts the words, as that of CoNLL-U does: training would learn numbers."""
    counted = all(raw.words[0] in ("0", "1") and all(map(_ROW_NUMBER.fullmatch, raw.words)) for raw in sentences)
    if sentences and counted and any(len(raw.words) > 2 for raw in sentences):
        raise DataError(
            path, sentences[0].lines[0], "the first column counts the words; put the word first and its tag last"
        )
