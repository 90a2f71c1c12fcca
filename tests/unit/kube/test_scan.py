"""Parts of a JSON text are found where they are, whatever is in them, and without a look at all of it."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtj_operator.kube import scan

ODD_TEXT = st.text('[]{}",:\\é \n', max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ODD_TEXT, inner, max_size=5),
    max_leaves=60,
)


@pytest.fixture(autouse=True, params=[3, 64, scan.STRETCH])
def stretch(request, monkeypatch):
    """Short stretches end anywhere: in strings, escapes and brackets."""
    monkeypatch.setattr(scan, "STRETCH", request.param)


def find(text: bytes):
    """The value, put together again from its parts; of the parts, by the parser."""
    match text[:1]:
        case b"{":
            return {name: find(text[part.start : part.end]) for name, part in scan.members(text)}
        case b"[":
            return [find(text[part.start : part.end]) for part in scan.elements(text)]
    return json.loads(text)


@settings(deadline=None)
@given(ANY_JSON, st.sampled_from([None, 1]), st.booleans())
def test_the_parts_make_the_whole(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert find(text) == value
    assert scan.skip(text + b",[", 0) == len(text)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}",:\\0n ', max_size=60).map(str.encode))
def test_what_is_no_json_ends_too(text):
    for kind in (scan.members, scan.elements):
        try:
            parts = list(kind(text))
        except ValueError:
            continue
        assert len(parts) <= len(text)


def large(what: str) -> bytes:
    return {
        "deep": b"[" * 200_000 + b"]" * 200_000,
        "dense": b"[" + b",".join([b"{}"] * 300_000) + b"]",
        "brackets in strings": b"[" + b",".join([b'"{"'] * 200_000) + b"]",
        "one string": b'"' + b"\\\\" * 300_000 + b'\\""',
        "sixty levels, again and again": b"[" + b",".join([b"[" * 60 + b"]" * 60] * 4000) + b"]",
    }[what]


@pytest.mark.parametrize(
    "what", ["deep", "dense", "brackets in strings", "one string", "sixty levels, again and again"]
)
def test_a_large_value_is_stepped_over_with_little_work(what, monkeypatch):
    monkeypatch.setattr(scan, "STRETCH", 16 * 1024)
    text = large(what)
    calls = 0

    def count(*_) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        end = scan.skip(text, 0)
    finally:
        sys.setprofile(before)
    assert end == len(text)
    assert calls < 60_000, "a call for each bracket of the last stretch, and some for each stretch"
