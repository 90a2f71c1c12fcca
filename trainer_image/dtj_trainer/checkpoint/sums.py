"""Sizes and checksums of a checkpoint's tensors: a file that was cut short or changed is found before it is used.

torch reads a flipped bit as another weight and says nothing. Each rank sums the files that it wrote, beside each other;
whoever restores reads all of them once.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

TENSORS = "tensors"
_BLOCK = 1 << 20


def write_sums(directory: Path, rank: int) -> None:
    """Record what this rank wrote into the checkpoint; after all have written. Rank 0 records torch's index too.

    Args:
        directory: of the checkpoint that is being made.
        rank: of this process.
    """
    mine = [path for path in (directory / TENSORS).glob(f"__{rank}_*") if path.is_file()]
    if rank == 0:
        mine.append(directory / TENSORS / ".metadata")
    sums = {path.name: [path.stat().st_size, _checksum(path)] for path in mine}
    _file(directory, rank).write_text(json.dumps(sums))


def sums_fit(directory: Path, ranks: int) -> bool:
    """Whether the tensors are those that so many ranks wrote.

    Raises:
        OSError: the volume failed.
    """
    for rank in range(ranks):
        try:
            sums = json.loads(_file(directory, rank).read_text())
            if not all(_fits(directory / TENSORS / name, size, checksum) for name, (size, checksum) in sums.items()):
                return False
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return False
    return True


def _fits(path: Path, size: int, checksum: int) -> bool:
    return path.stat().st_size == size and _checksum(path) == checksum


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def _file(directory: Path, rank: int) -> Path:
    return directory / f"sums-{rank}.json"
