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


LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_all_systems(tmp_path, end, last):
    rows = [b"Ada B-PER", b"works O", b"", b"Oslo B-LOC", b"", b"", b"Lima B-LOC"]
    conll = tmp_path / "a.conll"
    conll.write_bytes(LINE_ENDS[end].join(rows) + LINE_ENDS[end] * last)
    assert [(s.words, s.line) for s in read_file(conll, config())] == [
        (("Ada", "works"), 1),
        (("Oslo",), 4),
        (("Lima",), 7),
    ]
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_bytes(
        LINE_ENDS[end].join([b'{"words": ["a\xe2\x80\xa8b"], "tags": ["O"]}'] * 2) + LINE_ENDS[end] * last
    )
    assert [s.words for s in read_file(jsonl, config(format="jsonl"))] == [("a\u2028b",)] * 2


def test_columns_are_apart_by_blanks_and_other_spaces_belong_to_the_word(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("M.\u00a0Dupont  B-PER\n10\u202f000 \t O\n\n東京\u3000都 B-LOC\n\u00e0 O\n")
    assert [s.words for s in read_file(path, config())] == [
        ("M.\u00a0Dupont", "10\u202f000"),
        ("東京\u3000都", "\u00e0"),
    ]


DOCUMENTS = {
    "four columns above two": "-DOCSTART- -X- O O\n\nAda B-PER\nworks O\n\n-DOCSTART- -X- O O\n\nOslo B-LOC\n",
    "bare": "-DOCSTART-\n\nAda B-PER\nworks O\n\n-DOCSTART-\n\nOslo B-LOC\n",
    "no blank lines": "-DOCSTART- O\nAda B-PER\nworks O\n-DOCSTART- O\nOslo B-LOC\n",
    "bare above TAB": "-DOCSTART-\n\nAda\tB-PER\nworks\tO\n\n-DOCSTART-\n\nOslo\tB-LOC\n",
    "apart by TAB": "-DOCSTART-\t-X-\tO\nAda\tB-PER\nworks\tO\n-DOCSTART-\tO\nOslo\tB-LOC\n",
    "a number behind": "-DOCSTART- (12)\nAda B-PER\nworks O\n-DOCSTART- (13)\nOslo B-LOC\n",
    "document lines": "#begin document (a); part 0\nAda B-PER\nworks O\n#end document\n#begin document b\nOslo B-LOC\n",
}


@pytest.mark.parametrize("form", DOCUMENTS)
def test_a_document_begins_a_sentence_whatever_its_columns(tmp_path, form):
    path = tmp_path / "a.conll"
    path.write_text(DOCUMENTS[form])
    assert [s.words for s in read_file(path, config())] == [("Ada", "works"), ("Oslo",)]


COMMENTS = {
    "keys above TAB": "# sent_id = 1\n# text = Ada works\nAda\tB-PER\nworks\tO\n\n# newdoc\n#\n#\tx\ty\nOslo\tB-LOC\n",
    "keys above blanks": "# global.columns = FORM NER\nAda B-PER\nworks O\n\n# text = O\n# from the web\nOslo B-LOC\n",
}


@pytest.mark.parametrize("form", COMMENTS)
def test_comments_stand_before_a_sentence(tmp_path, form):
    path = tmp_path / "a.conll"
    path.write_text(COMMENTS[form])
    assert [s.words for s in read_file(path, config())] == [("Ada", "works"), ("Oslo",)]


def test_a_word_may_be_a_number_sign(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("# O\n#oslo B-LOC\n\n#lima B-LOC\n\n# O\n")
    assert [s.words for s in read_file(path, config())] == [("#", "#oslo"), ("#lima",), ("#",)]


EMPTY_WORDS = {
    "conll, TAB": ("conll", "Ada\tB-PER\n\tO\n \tO\n"),
    "conll, blanks": ("conll", "Ada B-PER\n O\n  O\n"),
    "jsonl": ("jsonl", '{"words": ["Ada", "", ""], "tags": ["B-PER", "O", "O"]}'),
}


@pytest.mark.parametrize("form", EMPTY_WORDS)
def test_a_row_without_a_word_keeps_its_place(tmp_path, form):
    format_, text = EMPTY_WORDS[form]
    path = tmp_path / "a"
    path.write_text(text)
    (sentence,) = read_file(path, config(format=format_))
    assert (sentence.words, sentence.tags) == (("Ada", "", ""), ("B-PER", "O", "O"))


def test_byte_order_marks_where_files_were_put_together(tmp_path):
    path = tmp_path / "a.conll"
    path.write_bytes("\ufeffAda B-PER\n\n\ufeffOslo B-LOC\n".encode())
    assert [s.words for s in read_file(path, config())] == [("Ada",), ("Oslo",)]


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
    "a line end of another kind": (
        "Ada B-PER\u2028works O\n".encode(),
        {},
        1,
        r"U\+2028 behind a word; end lines by LF",
    ),
    "no tag": (b"Ada\tB-PER\nworks\t\n", {}, 2, "the tag is empty"),
    "words that are counted": (b"# id = 1\n1\tAda\tB-PER\n2\tis\tO\n3\tin\tO\n", {}, 2, "first column counts"),
    "utf-32": ("a O\n".encode("utf-32-be"), {}, 1, "not utf-8|NUL|UTF-32"),
    "utf-8 as latin-1": (b"\xef\xbb\xbfa O\n", {"encoding": "latin-1"}, 1, "set it to utf-8"),
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
    "no end of brackets": ("[" * 100_000, "not JSON"),
    "half a character in a word": (r'{"words": ["x\ud83d"], "tags": ["O"]}', "half of a character"),
    "half a character in a tag": (r'{"words": ["x"], "tags": ["\udc00"]}', "half of a character"),
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


def test_a_character_that_is_escaped_as_two_halves_is_one_word(tmp_path):
    path = tmp_path / "a.jsonl"
    good = r'{"words": ["Ada", "\ud83d\ude34"], "tags": ["B-PER", "O"]}'
    path.write_text(f"{good}\n{good}")
    assert [s.words for s in read_file(path, config(format="jsonl"))] == [("Ada", "\U0001f634")] * 2
    path.write_text(f"{good}\n{good}\n" + r'{"words": ["\ud83d"], "tags": ["O"]}')
    with pytest.raises(DataError, match="half of a character") as caught:
        read_file(path, config(format="jsonl"))
    assert str(caught.value).startswith(f"{path}:3: ")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_file(tmp_path / "none", config())


def test_a_file_system_that_fails_is_not_the_users_mistake(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=r"Stale file handle.*train\.conll"):
        read_file(tmp_path / "train.conll", config())
