"""Where the parts of a JSON text are, found without building any of them.

A value is stepped over in stretches: of each only the brackets are looked at, and as long as it cannot be where the
value ends, none of them one by one. So it takes a few ms a megabyte and no memory, however deep and dense the value is.
The text must be JSON; of one that is not, the answer is any place in it or a ValueError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from dtj_api.nesting import brackets, course

STRETCH = 16 * 1024
"""Bytes that are looked at together."""
_SPACE = re.compile(rb"[ \t\r\n]*+")
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_PLAIN = re.compile(rb"[^ \t\r\n,:\]}]*+")
_TOKEN = re.compile(rb'["{}\[\]]')
_BACKSLASHES = re.compile(rb"\\*+")


class Part(NamedTuple):
    """One value: `text[start:end]`."""

    start: int
    end: int


def members(text: bytes, at: int = 0) -> Iterator[tuple[str, Part]]:
    """Names and values of the object that begins at a place.

    Raises:
        ValueError: no object begins there, or it is cut off.
    """
    at = _expect(text, at, b"{")
    while text[at : at + 1] != b"}":
        end = _string_end(text, _expect(text, at, b'"'))
        name = json.loads(text[at:end])
        value = _space(text, _expect(text, _space(text, end), b":"))
        end = skip(text, value)
        yield name, Part(value, end)
        at = _next(text, end, b"}")


def elements(text: bytes, at: int = 0) -> Iterator[Part]:
    """The values in the list that begins at a place.

    Raises:
        ValueError: no list begins there, or it is cut off.
    """
    at = _expect(text, at, b"[")
    while text[at : at + 1] != b"]":
        end = skip(text, at)
        yield Part(at, end)
        at = _next(text, end, b"]")


def skip(text: bytes, at: int) -> int:
    """Where the value that begins at a place ends.

    Raises:
        ValueError: it is cut off.
    """
    match text[at : at + 1]:
        case b'"':
            return _string_end(text, at + 1)
        case b"{" | b"[":
            return _nested_end(text, at + 1)
        case _:
            end = _match(_PLAIN, text, at)
            if end == at:
                raise ValueError(f"no value at byte {at}")
            return end


def _nested_end(text: bytes, at: int) -> int:
    depth, in_string = 1, False
    while at < len(text):
        end = _stretch_end(text, at + STRETCH)
        found, ends_in_string = brackets(text[at:end], in_string=in_string)
        lowest, change = _lowest(found)
        if depth + lowest <= 0:
            return _walk(text, at, depth, in_string)
        depth, in_string, at = depth + change, ends_in_string, end
    raise ValueError("a value is cut off")


def _stretch_end(text: bytes, end: int) -> int:
    """Where a stretch may end: in no escape."""
    if text[end - 1 : end] != b"\\":
        return end
    return _match(_BACKSLASHES, text, end) + 1


def _lowest(found: bytes) -> tuple[int, int]:
    """The lowest depth below the first one that some brackets lead to, and the last one."""
    while True:
        fewer = found.replace(b"{}", b"")
        little, found = len(fewer) * 8 >= len(found) * 7, fewer
        if little:
            break
    opened = found.lstrip(b"}")
    closed = len(found) - len(opened)
    if b"}" in opened:
        return min(course(found)), 2 * found.count(b"{") - len(found)
    return -closed, len(opened) - closed


def _walk(text: bytes, at: int, depth: int, in_string: bool) -> int:
    if in_string:
        at = _string_end(text, at)
    while (token := _TOKEN.search(text, at)) is not None:
        at = token.end()
        if token[0] == b'"':
            at = _string_end(text, at)
        elif token[0] in b"{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return at
    raise ValueError("a value is cut off")


def _string_end(text: bytes, at: int) -> int:
    end = _REST_OF_STRING.match(text, at)
    if end is None:
        raise ValueError("a string is cut off")
    return end.end()


def _next(text: bytes, at: int, closing: bytes) -> int:
    """Where the next value or name begins, or the bracket that ends them all."""
    at = _space(text, at)
    if text[at : at + 1] == closing:
        return at
    at = _expect(text, at, b",")
    return _space(text, at)


def _expect(text: bytes, at: int, what: bytes) -> int:
    if text[at : at + 1] != what:
        raise ValueError(f"byte {at}: found {text[at : at + 1]!r}, expected {what!r}")
    return at + 1 if what == b'"' else _space(text, at + 1)


def _space(text: bytes, at: int) -> int:
    return _match(_SPACE, text, at)


def _match(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
