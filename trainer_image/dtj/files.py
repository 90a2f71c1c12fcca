"""Files that count: whole or not at all, on the disk when a call returns, and never taken for missing by mistake."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FIRST = ".first"
"""Behind the name of the folder that says what a file of that name holds, on volumes without hard links."""
GONE = ".gone-"
"""Before the name of a folder that is being removed."""
_NO_LINKS = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.ENOSYS}
"""What file systems without hard links say: SMB, FAT, most of FUSE."""


def exists(path: Path) -> bool:
    """Whether there is something of this name.

    `Path.exists` answers no for a volume that fails (since Python 3.14), and what is taken for missing may be removed.

    Raises:
        OSError: the volume failed, and cannot tell.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError: something else is in it.
        OSError: it is not there, or the volume failed.
    """
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not an object")
    return content


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and have it on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, data: bytes) -> None:
    """Have a file with this content, or the earlier one, whatever happens meanwhile."""
    with _beside(path, data) as temporary:
        temporary.replace(path)
    sync_folder(path.parent)


def create(path: Path, data: bytes) -> None:
    """Write a file that no one else has written, whole or not at all; if somebody was first, theirs stands.

    Raises:
        OSError: the volume failed.
    """
    with _beside(path, data) as temporary:
        try:
            # Unlike a rename, a link never replaces what is there.
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _create_by_folder(path, data)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Have a folder, and those above it, by names that are on the disk.

    Raises:
        OSError: the volume failed.
    """
    missing = []
    while not exists(path):
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Of file systems that keep no folders in a cache.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def sync_tree(folder: Path) -> None:
    """Have all files below a folder, and their names in it, on the disk."""
    for path, _, names in os.walk(folder):
        for name in names:
            fd = os.open(Path(path, name), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_folder(Path(path))


def move_aside(path: Path) -> Path:
    """Take a folder's name away; where it is now."""
    gone = path.with_name(f"{GONE}{path.name}.{secrets.token_hex(4)}")
    path.rename(gone)
    return gone


def remove_folder(path: Path) -> None:
    """Remove a folder so that at no moment half of one is there under its name."""
    shutil.rmtree(move_aside(path), ignore_errors=True)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, of another name; after the block it is on the disk by this name, instead of the earlier one.

    A rename replaces no folder in which something is. So between two of them the earlier one has the name `.<name>.old`
    alone. Who is killed there leaves it so, and the next call gives it its name back.

    Raises:
        OSError: the volume failed.
    """
    draft, earlier = (path.with_name(f".{path.name}.{ending}") for ending in ("tmp", "old"))
    make_folder(path.parent)
    if exists(earlier) and not exists(path):
        earlier.rename(path)
    _remove_left(path, draft, earlier)
    draft.mkdir()
    yield draft
    sync_tree(draft)
    if exists(path):
        path.rename(earlier)
    draft.rename(path)
    _remove_left(path, earlier)


def _remove_left(path: Path, *others: Path) -> None:
    """Remove folders that have been replaced by one at `path`, or never came to it, once that is sure."""
    sync_folder(path.parent)
    for other in others:
        if exists(other):
            move_aside(other)
    for entry in path.parent.iterdir():
        if any(entry.name.startswith(f"{GONE}{other.name}.") for other in others):
            shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def _beside(path: Path, data: bytes) -> Iterator[Path]:
    """A file with this content, of another name in the same folder; it is gone after the block."""
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        write_durably(temporary, data)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _create_by_folder(path: Path, data: bytes) -> None:
    """`create` where there are no links: no folder is renamed to one in which something is.

    So the first folder of that name, with what is in it, decides for all and stays. The file is made from it by
    whoever comes: also a process that was stopped for long writes nothing then but what is there.
    """
    if exists(path):
        return
    first = path.parent / f".{path.name}{FIRST}"
    draft = path.parent / f".{path.name}.{secrets.token_hex(8)}{FIRST}"
    try:
        draft.mkdir()
        write_durably(draft / "content", data)
        sync_folder(draft)
        try:
            draft.rename(first)
        except OSError:
            # Systems differ in what they say of a folder that is there.
            if not exists(first / "content"):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(path.parent)
    replace_durably(path, (first / "content").read_bytes())
