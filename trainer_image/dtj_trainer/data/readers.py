"""Files to sentences, strict from the first byte.

The whole file is checked before step 0: an unknown tag or a ragged line found in the middle of an epoch would cost the
hours before it. Each error names file and line. CoNLL separators may be empty lines or lines of white space alone.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtj_api.trainer import DataConfig
from dtj_trainer.data.schemes import Scheme, Span, TagError, to_iob2, to_spans
from dtj_trainer.data.sentences import DataError, Sentence

DOCUMENT_START = "-DOCSTART-"
WRONG_PATH = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""What the manifest is to blame for. Any other error of the file system passes, and with it the restart is worth it."""


@dataclass(frozen=True)
class Raw:
    """Words and tags as the file has them, with the line of every word."""

    words: list[str]
    tags: list[str]
    lines: list[int]


def read_file(path: Path, config: DataConfig) -> list[Sentence]:
    """All sentences of one file, tags in IOB2 and types mapped by `labelMap`.

    Raises:
        DataError: missing or empty file, wrong encoding, ragged line, unknown tag or type, tag out of order.
        OSError: the file system failed.
    """
    lines = _lines(path, config.encoding)
    raws = _jsonl(path, lines, config) if config.format == "jsonl" else _conll(path, lines)
    sentences = [_sentence(path, raw, config) for raw in raws]
    if not sentences:
        raise DataError(path, 1, "no sentence in the file; it needs words with tags")
    return sentences


def _lines(path: Path, encoding: str) -> list[str]:
    try:
        data = path.read_bytes()
    except WRONG_PATH as error:
        raise DataError(path, 0, f"cannot be read: {error.strerror}") from None
    if not data.strip():
        raise DataError(path, 1, "the file is empty")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(path, 1, f"is UTF-16, expected {encoding}; convert the file")
    if encoding == "utf-8":
        data = data.removeprefix(codecs.BOM_UTF8)
    lines: list[str] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            found = line[error.start]
            raise DataError(
                path, number, f"byte 0x{found:02x} at column {error.start + 1} is not {encoding}; set data.encoding"
            ) from None
        if "\0" in text:
            raise DataError(path, number, f"a NUL character; the file is not {encoding} text")
        lines.append(text.rstrip("\r"))
    return lines


def _conll(path: Path, lines: Sequence[str]) -> Iterator[Raw]:
    """Columns apart by TAB when the file's first line has one, else by white space."""
    first = next(line for line in lines if line.strip())
    separator = "\t" if "\t" in first else None
    columns = len(first.split(separator))
    raw = Raw([], [], [])
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            if raw.words:
                yield raw
                raw = Raw([], [], [])
            continue
        cells = line.split(separator)
        if len(cells) != columns or columns < 2:
            raise DataError(
                path, number, f"{len(cells)} columns, expected {max(columns, 2)}: a word first and its tag last"
            )
        if cells[0] == DOCUMENT_START:
            continue
        word, tag = cells[0].strip(), cells[-1].strip()
        if not word or not tag:
            raise DataError(path, number, f"the {'tag' if word else 'word'} is empty")
        raw.words.append(word)
        raw.tags.append(tag)
        raw.lines.append(number)
    if raw.words:
        yield raw


def _jsonl(path: Path, lines: Sequence[str], config: DataConfig) -> Iterator[Raw]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(path, number, f"not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(path, number, f"found {type(row).__name__}, expected an object")
        words, tags = (_strings(path, number, row, name) for name in (config.words_field, config.tags_field))
        if len(words) != len(tags):
            raise DataError(path, number, f"{len(words)} words and {len(tags)} tags; each word needs one tag")
        if words:
            yield Raw(words, tags, [number] * len(words))


def _strings(path: Path, number: int, row: dict[str, object], name: str) -> list[str]:
    value = row.get(name)
    if isinstance(value, str):
        raise DataError(path, number, f"field {name!r} is one string; give a list, so that each word has its tag")
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        found = "nothing" if value is None else json.dumps(value)[:60]
        raise DataError(path, number, f"field {name!r} is {found}; expected a list of strings that are not empty")
    return [str(item) for item in value]


def _sentence(path: Path, raw: Raw, config: DataConfig) -> Sentence:
    scheme: Scheme = config.scheme
    try:
        spans = to_spans(raw.tags, scheme)
    except TagError as error:
        raise DataError(path, raw.lines[error.position], f"{error}") from None
    mapped: list[Span] = []
    for span in spans:
        kind = _map(path, raw.lines[span.start], span.kind, config)
        if kind != "O":
            mapped.append(Span(span.start, span.end, kind))
    return Sentence(tuple(raw.words), tuple(to_iob2(mapped, len(raw.words))), path, raw.lines[0])


def _map(path: Path, line: int, kind: str, config: DataConfig) -> str:
    if config.label_map:
        if kind not in config.label_map:
            raise DataError(path, line, f"type {kind!r} is unknown; data.labelMap knows {sorted(config.label_map)}")
        return config.label_map[kind]
    if kind not in config.labels:
        raise DataError(path, line, f"type {kind!r} is unknown; data.labels are {list(config.labels)}")
    return kind
