"""What a checkpoint consists of: each file with its size and checksum, so that a damaged one is found before use.

torch reads a flipped bit as another weight and says nothing. So the ranks sum what they have written, beside each
other, and sum it again before they restore it.

    dtj-manifest.json    {"format": 2, "files": {"model.pt": [<bytes>, "xxh3-128:<hex>"], ...}}

Sums are XXH3 of 128 bits where the image has the package `xxhash`, which sums as fast as memory is read; else CRC-32 of
the standard library, a fifth as fast. A sum of a kind that is not to be had here is not compared, the size is.

Pure but for the file system.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

try:
    import xxhash
except ImportError:
    xxhash = None  # type: ignore[assignment,unused-ignore]

FILE = "dtj-manifest.json"
FORMAT = 2
Sums = dict[str, list[Any]]
"""Path in the checkpoint to [size in bytes, kind of checksum and the sum in hex]."""
_BLOCK = 1 << 20
"""Bytes read at a time: what is summed is still in the cache of the core that read it."""
_THREADS = 4
_WRITER = re.compile(r"__(\d+)_")


class OtherFormatError(RuntimeError):
    """Another version of this library wrote it, in a format that this one does not know: that is no damage."""

    def __init__(self, path: Path, found: object, known: int) -> None:
        super().__init__(
            f"{path} is of format {found}, and this version of dtj knows {known}: go on with the version that wrote it "
            "or a later one, on all workers; nothing was changed"
        )


class _Checksum(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


class _Crc32:
    """The standard library's, in the shape of the others."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


_KINDS: dict[str, Callable[[], _Checksum]] = {"xxh3-128": xxhash.xxh3_128} if xxhash else {}
_KINDS["crc32"] = _Crc32


def files_in(folder: Path) -> list[str]:
    """The files of a checkpoint as this machine sees them.

    Raises:
        OSError: the volume failed.
    """
    files = (os.path.relpath(os.path.join(path, name), folder) for path, _, names in _walk(folder) for name in names)
    return sorted(name for name in files if name != FILE)


def deal(listings: list[list[str]], rank: int) -> list[str]:
    """The files that one rank sums: those that it wrote, as far as their names tell, and a share of the others.

    Args:
        listings: what each rank sees, by rank.
        rank: of this process.
    """
    seen = [set(listing) for listing in listings]
    mine = []
    for place, name in enumerate(sorted(set().union(*seen))):
        able = [each for each, files in enumerate(seen) if name in files]
        writer = _writer(name)
        if (writer if writer in able else able[place % len(able)]) == rank:
            mine.append(name)
    return mine


def sums_of(folder: Path, files: Iterable[str]) -> Sums:
    """Size and checksum of some files.

    Raises:
        OSError: one is missing, or the volume failed.
    """
    best = next(iter(_KINDS))
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(pool.map(lambda name: (name, _sum(folder / name, best)), files))


def to_json(sums: Sums) -> bytes:
    """The manifest of a checkpoint with these files."""
    return json.dumps({"format": FORMAT, "files": dict(sorted(sums.items()))}).encode()


def read(folder: Path) -> Sums | None:
    """The files that a checkpoint should have; None: it was made by a version that wrote no manifest.

    Raises:
        ValueError: the manifest itself is damaged.
        OtherFormatError: it is of another version.
        OSError: the volume failed.
    """
    try:
        body = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"{FILE} cannot be read") from None
    if isinstance(body, dict) and type(body.get("format")) is int and body["format"] != FORMAT:
        raise OtherFormatError(folder / FILE, body["format"], FORMAT)
    files = body.get("files") if isinstance(body, dict) else None
    if not isinstance(files, dict) or not all(_is_row(row) for row in files.values()) or "format" not in body:
        raise ValueError(f"{FILE} cannot be read")
    return files


def problems(folder: Path, rank: int = 0, world: int = 1) -> list[str]:
    """What is wrong with one rank's share of a checkpoint; each is one file and what was found.

    Raises:
        OtherFormatError: the manifest is of another version.
        OSError: the volume failed, which says nothing of the checkpoint.
    """
    try:
        expected = read(folder)
    except ValueError as error:
        return [str(error)]
    mine = deal([list(expected or {})] * world, rank)
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: _problem(folder / name, name, *(expected or {})[name]), mine)
        return [problem for problem in found if problem]


def incomparable(sums: Sums) -> set[str]:
    """Kinds of checksum in a manifest that this image cannot compute: of these files only the sizes are compared."""
    return {_kind(row[1]) for row in sums.values()} - _KINDS.keys()


def _writer(name: str) -> int | None:
    """The rank that wrote a file, where it is named as torch's distributed checkpoints name theirs."""
    match = _WRITER.match(Path(name).name)
    return int(match[1]) if match else None


def _problem(path: Path, name: str, size: int, checksum: str) -> str | None:
    try:
        actual = path.stat().st_size
        if actual != size:
            return f"{name} has {actual} bytes, and {size} were written"
        kind = _kind(checksum)
        if kind in _KINDS and _sum(path, kind)[1] != checksum:
            return f"{name} has other content than was written"
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    return None


def _kind(checksum: str) -> str:
    return checksum.partition(":")[0]


def _sum(path: Path, kind: str) -> list[Any]:
    checksum = _KINDS[kind]()
    size = 0
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            checksum.update(buffer[:count])
            size += count
    return [size, f"{kind}:{checksum.hexdigest()}"]


def _walk(folder: Path) -> Iterable[tuple[str, list[str], list[str]]]:
    def fail(error: OSError) -> None:
        raise error

    return os.walk(folder, onerror=fail)


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 2 and type(row[0]) is int and isinstance(row[1], str) and ":" in row[1]
