"""Files to sentences, strict from the first byte.

The whole file is checked before step 0: an unknown tag or a ragged line found in the middle of an epoch would cost the
hours before it. Each error names file and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from dtj_api.trainer import DataConfig
from dtj_trainer.data.conll import Raw, read_conll
from dtj_trainer.data.lines import read_lines
from dtj_trainer.data.schemes import Scheme, Span, TagError, to_iob2, to_spans
from dtj_trainer.data.sentences import DataError, Sentence


def read_file(path: Path, config: DataConfig) -> list[Sentence]:
    """All sentences of one file, tags in IOB2 and types mapped by `labelMap`.

    Raises:
        DataError: missing or empty file, wrong encoding, ragged line, unknown tag or type, tag out of order.
        OSError: the file system failed.
    """
    lines = read_lines(path, config.encoding)
    raws = _jsonl(path, lines, config) if config.format == "jsonl" else read_conll(path, lines, config.scheme)
    sentences = [_sentence(path, raw, config) for raw in raws]
    if not sentences:
        raise DataError(path, 1, "no sentence in the file; it needs words with tags")
    return sentences


def _jsonl(path: Path, lines: Sequence[str], config: DataConfig) -> Iterator[Raw]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(path, number, f"not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(path, number, f"found {type(row).__name__}, expected an object")
        words = _strings(path, number, row, config.words_field)
        tags = _strings(path, number, row, config.tags_field)
        if len(words) != len(tags):
            raise DataError(path, number, f"{len(words)} words and {len(tags)} tags; each word needs one tag")
        if words:
            yield Raw(words, tags, [number] * len(words))


def _strings(path: Path, number: int, row: dict[str, object], name: str) -> list[str]:
    value = row.get(name)
    if isinstance(value, str):
        raise DataError(path, number, f"field {name!r} is one string; give a list, so that each word has its tag")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        found = "nothing" if value is None else json.dumps(value)[:60]
        raise DataError(path, number, f"field {name!r} is {found}; expected a list of strings")
    for position, item in enumerate(value):
        # JSON can escape what no text can hold: half of a character that was cut in two.
        if found := next((c for c in item if "\ud800" <= c <= "\udfff"), ""):
            raise DataError(
                path,
                number,
                f"field {name!r}, item {position + 1}: \\u{ord(found):04x} is half of a character (a lone surrogate); "
                "remove it or write the whole character",
            )
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
