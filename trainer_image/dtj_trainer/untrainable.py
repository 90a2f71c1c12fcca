"""What cannot be trained, whoever says so first: one gate for all that happens before step 0.

A library tells a wrong file in a dozen ways, most of them a TypeError or a bare OSError from deep inside. A restart
mends none of them, so whatever is raised while data, tokenizer and model are made ready is the user's. The trap is the
world: a volume that fails, memory and devices raise there too, and those a restart mends.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtj.torch_errors import failures_of, is_unreadable, of_distributed_checkpoint
from dtj_api.base import ManifestError
from dtj_trainer.launch.ranks.errors import is_user_error

_USERS_ERRNO = {
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
}
"""What a path in the manifest is to blame for."""
_MAX_CAUSES = 16
_RUSTS_ERRNO = re.compile(r"\(os error (\d+)\)")
"""How Rust ends the text of an error of the system; what tokenizers and safetensors raise has no other trace of it."""

_DOES_NOT_FIT = re.compile(
    r"(?i:missing key|unexpected key|size mismatch|missing optimizer state|parameter groups?\b"
    r"|invalid checkpoint metadata)"
)
"""What torch says of a checkpoint that was made with another model or optimizer."""


class UntrainableError(ValueError):
    """What the user configured cannot be trained. The text names the field or the file, and what to do."""


@contextmanager
def preparing(what: str, folder: Path | None = None) -> Iterator[None]:
    """A part of the way to the first step: what it raises is the user's, unless the world failed.

    Args:
        what: field of `spec.trainer` that is made ready, with its value; it begins the text.
        folder: that it is made of. Libraries take a file that cannot be read for one that is not there, so before the
            user is told so, all of its files are looked at.

    Raises:
        UntrainableError: in place of every error that a restart does not mend.
        OSError: the volume fails.
    """
    try:
        yield
    except (UntrainableError, ManifestError):
        if folder is not None:
            _expect_readable(folder)
        raise
    except Exception as error:
        if of_the_world(error):
            raise
        if folder is not None:
            _expect_readable(folder)
        raise UntrainableError(f"{what}: {type(error).__name__}: {error}") from error
    except BaseException as error:
        if of_distributed_checkpoint(error):
            first, of_world = _of_ranks(error)
            if of_world:
                raise first from error
            raise UntrainableError(f"{what}: {type(first).__name__}: {first}") from error
        # What the Rust of tokenizers and safetensors raises where it gives up; no class of Python's own.
        if type(error).__name__ != "PanicException":
            raise
        raise UntrainableError(f"{what}: {error}") from error


@contextmanager
def restoring(directory: Path, misfit: str) -> Iterator[None]:
    """The reading of a checkpoint whose sums were right: only one that does not fit is the user's.

    Another machine may have summed it, and a network volume may show a stale or short file here.

    Args:
        directory: of the checkpoint.
        misfit: what to say, and to do, of one that does not fit.

    Raises:
        UntrainableError: it does not fit.
        OSError: what was summed cannot be read. It is charged, unlike a volume that fails: a file that stays so would
            be tried for ever.
    """
    try:
        yield
    except BaseException as error:
        failures = failures_of(error) or [error]
        if of_world := next((one for one in failures if of_the_world(one)), None):
            if of_world is error:
                raise
            raise of_world from error
        if short := next((one for one in failures if is_unreadable(one)), None):
            raise OSError(errno.EIO, f"cannot be read: {type(short).__name__}: {short}", str(directory)) from error
        if not all(_DOES_NOT_FIT.search(str(one)) for one in failures):
            raise
        raise UntrainableError(f"{directory}: {misfit}: {type(failures[0]).__name__}: {failures[0]}") from error


def _of_ranks(error: BaseException) -> tuple[BaseException, bool]:
    """Of what ranks raised in a distributed checkpoint, what tells most, and whether that is the world's."""
    failures = failures_of(error)
    worlds = [one for one in failures if of_the_world(one)]
    return (worlds or failures or [error])[0], bool(worlds)


def _expect_readable(folder: Path) -> None:
    """Raise what the volume says, if it fails."""
    try:
        for path in folder.iterdir():
            if stat.S_ISREG(os.stat(path).st_mode):
                with path.open("rb") as file:
                    file.read(1)
    except OSError as error:
        if error.errno not in _USERS_ERRNO:
            raise


def of_the_world(error: BaseException) -> bool:
    """Whether an error, or what it was raised for, is of the machine, its volume or its network."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen and len(seen) < _MAX_CAUSES:
        seen.append(at)
        at = at.__cause__ or at.__context__
    return any(_is_the_worlds(one) for one in seen)


def _is_the_worlds(error: BaseException) -> bool:
    numbers = {int(number) for number in _RUSTS_ERRNO.findall(str(error))}
    if isinstance(error, OSError):
        numbers |= set[int]() if error.errno is None else {error.errno}
        # transformers raises one without a number for whatever it does not find in a folder.
        return bool(numbers - _USERS_ERRNO)
    if numbers - _USERS_ERRNO:
        return True
    return not is_user_error([kind.__name__ for kind in type(error).__mro__], str(error))
