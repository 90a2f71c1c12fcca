"""What torch makes of a volume that takes no more, told as what it is.

`torch.save` on a full disk raises a RuntimeError about positions in a zip file; a distributed checkpoint raises a
CheckpointException, which is no Exception, around one such for each rank. Taken as they are they look like bugs of the
script (seen with torch 2.13 to 2.15).

torch is not imported here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_WRITERS = ("inline_container.cc", "PytorchStreamWriter", "iostream error")
"""In the texts of torch's own writer of files."""
_READERS = (
    "PytorchStreamReader",
    "file read failed",
    "iostream error",
    "wrong byte size",
    "Ran out of input",
    "pickle data was truncated",
)
"""In those of its reader, and of pickle, where a file is shorter or another one than it says."""
_BROKEN = ("closed by peer", "reset by peer", "Broken pipe")
"""In those of Gloo's transport, where a connection to another rank has ended."""


def of_distributed_checkpoint(error: BaseException) -> bool:
    """Whether it is torch's CheckpointException, which `except Exception` does not catch."""
    return type(error).__name__ == "CheckpointException"


def failures_of(error: BaseException) -> list[BaseException]:
    """What its ranks raised, of torch's CheckpointException."""
    failures = getattr(error, "failures", {})
    return [one for one, _ in failures.values() if isinstance(one, BaseException)]


def volume_error(error: BaseException, folder: Path) -> OSError | None:
    """The failure of the volume behind an error of a save; None: it is of another kind.

    Args:
        error: what the save raised.
        folder: that it wrote to.
    """
    if isinstance(error, OSError):
        return error
    if of_distributed_checkpoint(error):
        found = [volume_error(one, folder) for one in failures_of(error)]
        # One rank with a bug makes it one.
        return found[0] if found and None not in found else None
    if not any(writer in str(error) for writer in _WRITERS):
        return None
    known = next((one for one in (error.__cause__, error.__context__) if isinstance(one, OSError)), None)
    if known is not None:
        return known
    code = errno.ENOSPC if _is_full(folder) else errno.EIO
    return OSError(code, f"{os.strerror(code)}, as torch says: {error}".splitlines()[0], str(folder))


def is_unreadable(error: BaseException) -> bool:
    """Whether what was read is no whole file of torch's."""
    return any(reader in str(error) for reader in _READERS)


def is_of_another_rank(error: BaseException) -> bool:
    """Whether a collective on the CPUs has ended because another rank has left it."""
    text = str(error)
    return isinstance(error, RuntimeError) and "gloo/transport" in text and any(words in text for words in _BROKEN)


def _is_full(folder: Path) -> bool:
    try:
        space = os.statvfs(folder)
    except OSError:
        return False
    return space.f_bavail == 0 or (space.f_files > 0 and space.f_favail == 0)
