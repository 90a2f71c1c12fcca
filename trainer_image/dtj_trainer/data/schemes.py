"""Tag schemes, and the spans that they mean.

Every scheme is read into spans and written as IOB2, so that training and scores know one scheme only. The reader is
strict: a tag that its scheme does not allow is an error with its position, since seqeval's lenient mode would turn it
into an entity that nobody annotated. IO cannot separate two neighbours of one type: they become one span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["IOB1", "IOB2", "BIOES", "IO"]
PREFIXES: dict[str, str] = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES", "IO": "I"}


@dataclass(frozen=True)
class Span:
    """Words `start` up to, not including, `end` are one entity of `kind`."""

    start: int
    end: int
    kind: str


class TagError(ValueError):
    """A tag that the scheme does not allow, at a position in the sentence."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


def split_tag(tag: str, scheme: Scheme) -> tuple[str, str]:
    """A tag as (prefix, type): `B-PER` is ("B", "PER"), `O` is ("O", "").

    Raises:
        TagError: neither `O` nor a prefix of the scheme with a type; position 0.
    """
    if tag == "O":
        return "O", ""
    prefix, dash, kind = tag.partition("-")
    if not dash or not kind or len(prefix) != 1 or prefix not in PREFIXES[scheme]:
        allowed = ", ".join(["O", *(f"{p}-TYPE" for p in PREFIXES[scheme])])
        raise TagError(0, f"tag {tag!r} is unknown in scheme {scheme}; allowed are {allowed}")
    return prefix, kind


def to_spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """The entities of one sentence.

    Raises:
        TagError: unknown tag, or one that may not follow the tag before it, with its position.
    """
    spans: list[Span] = []
    start, kind, last = -1, "", "O"
    for i, tag in enumerate(tags):
        try:
            prefix, this = split_tag(tag, scheme)
        except TagError as error:
            raise TagError(i, str(error)) from None
        _check_order(i, prefix, this, last, kind, scheme)
        inside = prefix in "IE" and last not in "OES" and this == kind
        if start >= 0 and not inside:
            spans.append(Span(start, i, kind))
            start = -1
        if prefix != "O" and not inside:
            start = i
        last, kind = prefix, this
    if scheme == "BIOES" and last in "BI":
        raise TagError(len(tags) - 1, f"tag {tags[-1]!r} ends the sentence; an entity ends with E- or is S-")
    if start >= 0:
        spans.append(Span(start, len(tags), kind))
    return spans


def _check_order(i: int, prefix: str, this: str, last: str, kind: str, scheme: Scheme) -> None:
    """Refuse a tag that may not stand after the one before it."""
    here = f"{prefix}-{this}" if this else "O"
    before = f"{last}-{kind}" if kind else "O"
    after = f"after {before}" if i else "at the start of the sentence"
    continues = last in "BI" and this == kind
    if scheme == "IOB2" and prefix == "I" and not continues:
        raise TagError(i, f"tag {here!r} {after}; in IOB2 an entity starts with B-{this}")
    if scheme == "IOB1" and prefix == "B" and not continues:
        raise TagError(i, f"tag {here!r} {after}; in IOB1 B- only separates neighbours of one type, write I-{this}")
    if scheme == "BIOES":
        if prefix in "IE" and not continues:
            raise TagError(i, f"tag {here!r} {after}; in BIOES I- and E- follow B-{this} or I-{this}")
        if last in "BI" and prefix not in "IE":
            raise TagError(i, f"tag {here!r} {after}; in BIOES an entity ends with E- or is S-")


def to_iob2(spans: Sequence[Span], length: int) -> list[str]:
    """Spans as the IOB2 tags of a sentence of `length` words."""
    tags = ["O"] * length
    for span in spans:
        tags[span.start : span.end] = [f"B-{span.kind}", *([f"I-{span.kind}"] * (span.end - span.start - 1))]
    return tags
