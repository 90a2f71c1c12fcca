"""A file to its lines, with the line ends of all systems.

A file that ends its lines by CR alone is one line to `split("\\n")`: trained on, it is one word. Only CR, LF and both
together end a line; U+2028 and its like may stand within the text of a tweet.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from dtj_trainer.data.sentences import DataError

WRONG_PATH = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""What the manifest is to blame for. Any other error of the file system passes, and with it the restart is worth it."""
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_LINE_END = re.compile(rb"\r\n|\n|\r")
_MARK = "\ufeff"


def read_lines(path: Path, encoding: str) -> list[str]:
    """All lines of a text file, without their ends and byte order marks; line n is at n - 1.

    Raises:
        DataError: missing or empty file, or not text in this encoding.
        OSError: the file system failed.
    """
    try:
        data = path.read_bytes()
    except WRONG_PATH as error:
        raise DataError(path, 0, f"cannot be read: {error.strerror}") from None
    if not data.strip():
        raise DataError(path, 1, "the file is empty")
    if data.startswith(_WIDE_MARKS):
        raise DataError(path, 1, f"is UTF-16 or UTF-32, expected {encoding}; convert the file")
    if encoding != "utf-8" and data.startswith(codecs.BOM_UTF8):
        raise DataError(path, 1, f"begins with the mark of utf-8, and data.encoding is {encoding}; set it to utf-8")
    return [_decode(path, number, line, encoding) for number, line in enumerate(_LINE_END.split(data), start=1)]


def _decode(path: Path, number: int, line: bytes, encoding: str) -> str:
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        found = line[error.start]
        raise DataError(
            path, number, f"byte 0x{found:02x} at column {error.start + 1} is not {encoding}; set data.encoding"
        ) from None
    if "\0" in text:
        raise DataError(path, number, f"a NUL character; the file is not {encoding} text")
    # Files put together by `cat` have one at every seam.
    return text.removeprefix(_MARK)
