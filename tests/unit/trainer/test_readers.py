"""A data file is right as a whole, or refused before step 0 with file and line."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from dtj_api.trainer import DataConfig
from dtj_trainer.data.readers import read_file
from dtj_trainer.data.sentences import DataError

pytestmark = pytest.mark.unit


def config(**changes):
    return DataConfig.model_validate({"train": "a", "dev": "b", "test": "c", **changes})


def test_conll_columns_separators_and_documents(tmp_path):
    path = tmp_path / "a.conll"
    path.write_bytes(b"-DOCSTART- X O\r\n\r\nAnna NNP B-PER\r\nruns VB O\r\n   \r\nOslo NNP B-LOC\n")
    first, second = read_file(path, config())
    assert (first.words, first.tags, first.line) == (("Anna", "runs"), ("B-PER", "O"), 3)
    assert (second.words, second.tags, second.line) == (("Oslo",), ("B-LOC",), 6)


def test_tab_alone_separates_sentences_and_words_may_hold_spaces(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("New York\tB-LOC\n\t\nhi\tO\n")
    assert [s.words for s in read_file(path, config())] == [("New York",), ("hi",)]


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["Anna", "runs"], "ner": ["I-PER", "O"]}\n\n{"tokens": [], "ner": []}\n')
    (only,) = read_file(path, config(format="jsonl", wordsField="tokens", tagsField="ner", scheme="IO"))
    assert only.tags == ("B-PER", "O")


def test_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    path = tmp_path / "a.conll"
    path.write_bytes(b"\xef\xbb\xbfAnna B-PER\n")
    assert read_file(path, config())[0].words == ("Anna",)


def test_types_are_mapped_and_dropped(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("Anna B-person\nDoe I-person\nJaws B-movie\nx O\n")
    (sentence,) = read_file(path, config(labelMap={"person": "PER", "movie": "O"}))
    assert sentence.tags == ("B-PER", "I-PER", "O", "O")


BAD_CONLL = {
    "unknown tag": (b"a O\nb Q-PER\n", {}, 2, "tag 'Q-PER' is unknown in scheme IOB2"),
    "illegal start": (b"a O\nb I-PER\n", {}, 2, "in IOB2 an entity starts with B-PER"),
    "unknown type": (b"a O\n\nb B-MISC\n", {}, 3, "type 'MISC' is unknown; data.labels are"),
    "type outside the map": (b"a B-x\n", {"labelMap": {"y": "PER"}}, 1, r"data.labelMap knows \['y'\]"),
    "ragged line": (b"a O\nb\n", {}, 2, "1 columns, expected 2"),
    "too many columns": (b"a O\nb c O\n", {}, 2, "3 columns, expected 2"),
    "one column": (b"a\nb\n", {}, 1, "1 columns, expected 2"),
    "empty": (b"", {}, 1, "the file is empty"),
    "blank": (b" \n\t\n", {}, 1, "the file is empty"),
    "only a document start": (b"-DOCSTART- O\n", {}, 1, "no sentence"),
    "latin-1": (b"a O\ncaf\xe9 O\n", {}, 2, "byte 0xe9 at column 4 is not utf-8"),
    "utf-16": ("a O\n".encode("utf-16"), {}, 1, "UTF-16"),
    "binary": (b"a O\nb\0 O\n", {}, 2, "NUL"),
}


@pytest.mark.parametrize("case", BAD_CONLL)
def test_bad_conll_is_refused_with_file_and_line(tmp_path, case):
    content, changes, line, says = BAD_CONLL[case]
    path = tmp_path / "bad.conll"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_file(path, config(**changes))
    assert str(caught.value).startswith(f"{path}:{line}: ")


BAD_JSONL = {
    "not JSON": ("{", "not JSON"),
    "not an object": ("[1]", "expected an object"),
    "no words": (json.dumps({"tags": ["O"]}), "field 'words' is nothing"),
    "a string instead of words": (json.dumps({"words": "Anna runs", "tags": ["O", "O"]}), "is one string; give a list"),
    "numbers": (json.dumps({"words": [1], "tags": ["O"]}), "expected a list of strings"),
    "more words than tags": (json.dumps({"words": ["a", "b"], "tags": ["O"]}), "2 words and 1 tags"),
    "bad tag": (json.dumps({"words": ["a"], "tags": ["X"]}), "unknown in scheme"),
}


@pytest.mark.parametrize("case", BAD_JSONL)
def test_bad_jsonl_is_refused_with_file_and_line(tmp_path, case):
    content, says = BAD_JSONL[case]
    path = tmp_path / "bad.jsonl"
    path.write_text('{"words": ["a"], "tags": ["O"]}\n' + content + "\n")
    with pytest.raises(DataError, match=says) as caught:
        read_file(path, config(format="jsonl"))
    assert str(caught.value).startswith(f"{path}:2: ")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_file(tmp_path / "none", config())


def test_a_file_system_that_fails_is_not_the_users_mistake(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=r"Stale file handle.*train\.conll"):
        read_file(tmp_path / "train.conll", config())
