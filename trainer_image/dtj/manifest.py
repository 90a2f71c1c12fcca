"""What a checkpoint consists of: each file with its size and checksum, so that a damaged one is found before use.

torch reads a flipped bit as another weight and says nothing. So the ranks sum what they have written, beside each
other, and sum it again before they restore it.

    dtj-manifest.json    {"format": 1, "algorithm": "crc32", "files": {"model.pt": [<bytes>, "<hex>"], ...}}

Pure but for the file system. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FILE = "dtj-manifest.json"
FORMAT = 1
ALGORITHM = "crc32"
Sums = dict[str, list[Any]]
"""Path in the checkpoint to [size in bytes, checksum in hex]."""
_BLOCK = 1 << 22
_THREADS = 4
_WRITER = re.compile(r"__(\d+)_")


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
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(pool.map(lambda name: (name, _sum(folder / name)), files))


def to_json(sums: Sums) -> bytes:
    """The manifest of a checkpoint with these files."""
    return json.dumps({"format": FORMAT, "algorithm": ALGORITHM, "files": dict(sorted(sums.items()))}).encode()


def read(folder: Path) -> Sums | None:
    """The files that a checkpoint should have; None: it was made by a version that wrote no manifest.

    Raises:
        ValueError: the manifest itself is damaged, or of a newer version.
        OSError: the volume failed.
    """
    try:
        body = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"{FILE} cannot be read") from None
    files = body.get("files") if isinstance(body, dict) else None
    if not isinstance(files, dict) or not all(_is_row(row) for row in files.values()):
        raise ValueError(f"{FILE} cannot be read")
    if (body.get("format"), body.get("algorithm")) != (FORMAT, ALGORITHM):
        raise ValueError(f"{FILE} is of a version that this one does not know")
    return files


def problems(folder: Path, rank: int = 0, world: int = 1) -> list[str]:
    """What is wrong with one rank's share of a checkpoint; each is one file and what was found.

    Raises:
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


def _writer(name: str) -> int | None:
    """The rank that wrote a file, where it is named as torch's distributed checkpoints name theirs."""
    match = _WRITER.match(Path(name).name)
    return int(match[1]) if match else None


def _problem(path: Path, name: str, size: int, checksum: str) -> str | None:
    try:
        actual = path.stat().st_size
        if actual != size:
            return f"{name} has {actual} bytes, and {size} were written"
        if _sum(path)[1] != checksum:
            return f"{name} has other content than was written"
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    return None


def _sum(path: Path) -> list[Any]:
    value = size = 0
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            value = zlib.crc32(buffer[:count], value)
            size += count
    return [size, f"{value:08x}"]


def _walk(folder: Path) -> Iterable[tuple[str, list[str], list[str]]]:
    def fail(error: OSError) -> None:
        raise error

    return os.walk(folder, onerror=fail)


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 2 and type(row[0]) is int and isinstance(row[1], str)
