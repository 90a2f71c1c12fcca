"""Tag schemes: what each tag sequence means, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_trainer.data.schemes import Span, TagError, to_iob2, to_spans

pytestmark = pytest.mark.unit

MEANINGS = [
    ("IOB2", "O B-PER I-PER O", [Span(1, 3, "PER")]),
    ("IOB2", "B-PER B-PER", [Span(0, 1, "PER"), Span(1, 2, "PER")]),
    ("IOB2", "B-PER I-PER B-LOC", [Span(0, 2, "PER"), Span(2, 3, "LOC")]),
    ("IOB1", "I-PER I-PER O", [Span(0, 2, "PER")]),
    ("IOB1", "I-PER B-PER I-PER", [Span(0, 1, "PER"), Span(1, 3, "PER")]),
    ("IOB1", "I-PER I-LOC", [Span(0, 1, "PER"), Span(1, 2, "LOC")]),
    ("BIOES", "S-PER B-LOC I-LOC E-LOC O", [Span(0, 1, "PER"), Span(1, 4, "LOC")]),
    ("BIOES", "S-PER S-PER", [Span(0, 1, "PER"), Span(1, 2, "PER")]),
    ("IO", "I-PER I-PER I-LOC", [Span(0, 2, "PER"), Span(2, 3, "LOC")]),
    ("IOB2", "O O", []),
]


@pytest.mark.parametrize(("scheme", "tags", "spans"), MEANINGS)
def test_meaning(scheme, tags, spans):
    assert to_spans(tags.split(), scheme) == spans


REFUSED = [
    ("IOB2", "O I-PER", 1, "starts with B-PER"),
    ("IOB2", "B-PER I-LOC", 1, "starts with B-LOC"),
    ("IOB2", "S-PER", 0, "unknown in scheme IOB2"),
    ("IOB2", "B-", 0, "unknown"),
    ("IOB2", "PER", 0, "allowed are O, B-TYPE, I-TYPE"),
    ("IOB2", "o", 0, "unknown"),
    ("IOB1", "B-PER", 0, "write I-PER"),
    ("IOB1", "I-LOC B-PER", 1, "write I-PER"),
    ("BIOES", "B-PER O", 1, "ends with E-"),
    ("BIOES", "O B-PER", 1, "ends with E-"),
    ("BIOES", "I-PER E-PER", 0, "follow B-PER"),
    ("BIOES", "B-PER E-LOC", 1, "follow B-LOC"),
    ("IO", "B-PER", 0, "unknown in scheme IO"),
]


@pytest.mark.parametrize(("scheme", "tags", "position", "says"), REFUSED)
def test_refused_with_its_position(scheme, tags, position, says):
    with pytest.raises(TagError, match=says) as caught:
        to_spans(tags.split(), scheme)
    assert caught.value.position == position


def write(spans: list[Span], length: int, scheme: str) -> list[str]:
    """Spans in another scheme, written apart from the code under test."""
    tags = to_iob2(spans, length)
    for i, span in enumerate(spans):
        if scheme == "BIOES":
            tags[span.end - 1] = ("S-" if span.end - span.start == 1 else "E-") + span.kind
        if scheme == "IOB1" and not (i and spans[i - 1].end == span.start and spans[i - 1].kind == span.kind):
            tags[span.start] = f"I-{span.kind}"
    return tags


@st.composite
def entities(draw) -> tuple[list[Span], int]:
    at, spans = 0, []
    for _ in range(draw(st.integers(0, 6))):
        start = at + draw(st.integers(0, 2))
        at = start + draw(st.integers(1, 3))
        spans.append(Span(start, at, draw(st.sampled_from(["PER", "LOC"]))))
    return spans, at + draw(st.integers(0, 2))


@given(entities(), st.sampled_from(["IOB1", "IOB2", "BIOES"]))
def test_every_scheme_reads_back_the_same_spans(example, scheme):
    spans, length = example
    assert to_spans(write(spans, length, scheme), scheme) == spans
