"""How deep a JSON text goes, counted on its bytes before anything is built from it. Standard library only."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import accumulate

_BRACKETS = bytes.maketrans(b"[]", b"{}")
_STEPS = bytes.maketrans(b"{}", b"\x01\xff")
"""A bracket as the signed byte by which it changes the depth."""
_OTHERS = bytes(each for each in range(256) if each not in b'{}[]"')
_PEELS = 4


def brackets(data: bytes, *, in_string: bool = False) -> tuple[bytes, bool]:
    """The brackets of a stretch of JSON without those in strings, all as `{` and `}`. Takes 1 to 6 ms a megabyte.

    Args:
        data: the stretch. It begins and ends in no escape.
        in_string: whether it begins within a string.

    Returns:
        The brackets, and whether it ends within a string.
    """
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    bare = bare.translate(_BRACKETS, _OTHERS)
    if in_string:
        bare = b'"' + bare
    ends_in_string = bare.count(b'"') % 2 == 1
    # Two quotes beside each other have nothing between them that is left, whether they end a string or begin one.
    bare = bare.replace(b'""', b"")
    return b"".join(bare.split(b'"')[::2]) if b'"' in bare else bare, ends_in_string


def depth(data: bytes) -> int:
    """Levels of objects and lists within each other in a JSON text, at least up to where it is none.

    The innermost ones are taken away a few times, all at once, for they are most of any text; the rest is counted one
    by one, which takes 50 ms a megabyte at the worst.
    """
    rest, _ = brackets(data)
    for level in range(_PEELS):
        if not rest:
            return level
        rest = rest.replace(b"{}", b"")
    return _PEELS + max(course(rest), default=0)


def course(found: bytes) -> Iterator[int]:
    """The depth after each bracket, beginning at 0."""
    return accumulate(array("b", found.translate(_STEPS)))
