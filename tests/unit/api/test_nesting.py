"""Depth is counted on bytes, and as the parser would find it, whatever strings say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtj_api.nesting import depth

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text('[]{}"\\é\x00 ', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\', max_size=3), inner, max_size=4),
    max_leaves=40,
)


def levels_of(value) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((levels_of(each) for each in inner), default=0)


@settings(deadline=None)
@given(ANY_JSON, st.sampled_from([None, 1]), st.booleans())
def test_the_depth_of_a_text_is_that_of_its_value(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert depth(text.encode(errors="surrogatepass")) == levels_of(value)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 64, 65, 9000, 700_000])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
def test_any_depth_is_counted_and_no_less_where_no_end_comes(count, pair):
    begin, end = pair
    assert depth(begin * count + b"1" + end * count) == count
    assert depth(begin * count) >= count


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        (b'["[", "]"]', 1),
        (rb'["\\", [1]]', 2),
        (rb'["\"[[[", [1]]', 2),
        (rb'["\\\"[[[", [1]]', 2),
        (rb'["\\\\", "[[", [1]]', 2),
        (b'{"[[[": "]"}', 1),
        (b'[""]', 1),
        (b'["{""}", "[]"]', 1),
        (b"", 0),
        (b"1", 0),
    ],
)
def test_brackets_in_strings_are_no_levels(text, levels):
    assert depth(text) == levels
