"""Whose fault is what is raised before the first step: the user's, unless the world failed."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

from dtj_api.base import ManifestError
from dtj_trainer.launch.ranks.errors import RankError, describe
from dtj_trainer.parallel.world import LayoutError, expect_gpus
from dtj_trainer.untrainable import UntrainableError, preparing, restoring

pytestmark = pytest.mark.unit


class PanicException(BaseException):
    """Named as that of pyo3."""


class CheckpointException(BaseException):
    """Named as that of torch."""

    def __init__(self, *errors: BaseException) -> None:
        self.failures = {rank: (error, None) for rank, error in enumerate(errors)}
        super().__init__("ranks", self.failures)


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def while_handling(error: Exception, context: Exception) -> Exception:
    error.__context__ = context
    return error


USERS = {
    "type": TypeError("TextInputSequence must be str"),
    "index": IndexError("index 34 is out of bounds"),
    "attribute": AttributeError("no attribute 'embeddings'"),
    "runtime": RuntimeError("Error(s) in loading state_dict"),
    "recursion": RecursionError("maximum recursion depth exceeded"),
    "encoding": UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed"),
    "import": ImportError("requires the sentencepiece library"),
    "an OSError of a library's own": OSError("can't load tokenizer for 'x'"),
    "no such file": FileNotFoundError(errno.ENOENT, "No such file or directory"),
    "a folder for a file": IsADirectoryError(errno.EISDIR, "Is a directory"),
    "not readable": PermissionError(errno.EACCES, "Permission denied"),
    "name too long": OSError(errno.ENAMETOOLONG, "File name too long"),
    "no such file for Rust": Exception("No such file or directory (os error 2)"),
    "a panic of Rust": PanicException("called unwrap on None"),
}
WORLDS = {
    "volume": OSError(errno.EIO, "Input/output error"),
    "stale": OSError(errno.ESTALE, "Stale file handle"),
    "full": OSError(errno.ENOSPC, "No space left on device"),
    "too many files": OSError(errno.EMFILE, "Too many open files"),
    "network": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "memory": MemoryError(),
    "device memory": torch.OutOfMemoryError("CUDA out of memory"),
    "device": RuntimeError("CUDA error: device-side assert triggered"),
    "device that is not known": RuntimeError("CUDA unknown error - this may be due to an environment"),
    "device that is not up": RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 802: not yet initialized"),
    "peers": dist.DistNetworkError("connection reset"),
    "memory of torch": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "shared memory of torch": RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
    "a volume in the words of Rust": Exception("Input/output error (os error 5)"),
    "a stale one in an OSError of Rust's": OSError("Stale file handle (os error 116)"),
    "a volume behind a library's words": because(ValueError("cannot load"), OSError(errno.EIO, "Input/output error")),
    "a volume while it was handled": while_handling(OSError("can't load"), OSError(errno.ESTALE, "Stale file handle")),
}


@pytest.mark.parametrize("case", USERS)
def test_the_users(case: str) -> None:
    error = USERS[case]
    with pytest.raises(UntrainableError, match=r"model\.path '/m': ") as caught, preparing("model.path '/m'"):
        raise error
    assert str(error) in str(caught.value)


@pytest.mark.parametrize("case", WORLDS)
def test_the_worlds_passes_as_it_is(case: str) -> None:
    error = WORLDS[case]
    with pytest.raises(type(error)) as caught, preparing("model.path '/m'"):
        raise error
    assert caught.value is error


def test_what_ranks_raise_of_a_distributed_checkpoint_is_judged_by_itself() -> None:
    missing, volume = RuntimeError("Missing key in checkpoint"), OSError(errno.EIO, "Input/output error")
    with pytest.raises(UntrainableError, match=r"^/m: RuntimeError: Missing key in checkpoint$"), preparing("/m"):
        raise CheckpointException(missing, missing)
    with pytest.raises(OSError, match="Input/output error"), preparing("/m"):
        raise CheckpointException(missing, volume)
    with pytest.raises(UntrainableError, match=r"^/m: CheckpointException: "), preparing("/m"):
        raise CheckpointException()


DOES_NOT_FIT = {
    "missing key": RuntimeError("Missing key in checkpoint state_dict: model.head.weight."),
    "missing key of a model": RuntimeError(
        "Error(s) in loading state_dict for Bert: Missing key(s) in state_dict: 'x'"
    ),
    "unexpected key": RuntimeError("An unexpected key, x, exists. FQN is x"),
    "size": ValueError("Size mismatch between saved torch.Size([2]) and current: torch.Size([3]) for model.x"),
    "state of the optimizer": RuntimeError("Missing optimizer state for parameter 'x' in checkpoint."),
    "groups": ValueError("loaded state dict has a different number of parameter groups"),
    "size of a group": ValueError("loaded state dict contains a parameter group that doesn't match the size of x"),
    "another kind": ValueError("Invalid checkpoint metadata for x, expected BytesStorageMetadata but found y"),
}
UNREADABLE = {
    "no archive": RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
    "short": RuntimeError("PytorchStreamReader failed locating file data/0: file read failed"),
    "empty": EOFError("Ran out of input"),
    "stream": RuntimeError("basic_ios::clear: iostream error"),
    "short storage": RuntimeError("storage has wrong byte size: expected 4 got 2"),
    "pickle": pickle.UnpicklingError("pickle data was truncated"),
}


@pytest.mark.parametrize("case", DOES_NOT_FIT)
def test_a_checkpoint_of_another_model_is_refused(case: str) -> None:
    error = DOES_NOT_FIT[case]
    for raised in (error, CheckpointException(error, error)):
        says = re.escape(f"/c: does not fit: {type(error).__name__}: {error}")
        with pytest.raises(UntrainableError, match=says), restoring(Path("/c"), "does not fit"):
            raise raised


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_checkpoint_that_cannot_be_read_though_its_sums_were_right_is_charged_and_not_the_users(case: str) -> None:
    """Another try may find it whole; one that stays so must not be tried for ever."""
    error = UNREADABLE[case]
    for raised in (error, CheckpointException(error, error), CheckpointException(DOES_NOT_FIT["size"], error)):
        with pytest.raises(OSError, match=re.escape(str(error))) as caught, restoring(Path("/c"), "does not fit"):
            raise raised
        message, trace, users = describe(caught.value)
        assert not users
        assert not RankError(message, trace, users, None).of_volume


@pytest.mark.parametrize("case", WORLDS)
def test_the_worlds_passes_a_restore_as_it_is(case: str) -> None:
    error = WORLDS[case]
    cause = error.__cause__
    with pytest.raises(type(error)) as caught, restoring(Path("/c"), "does not fit"):
        raise error
    assert (caught.value, caught.value.__cause__) == (error, cause)


def test_the_worlds_of_one_rank_passes_a_restore_of_several() -> None:
    volume = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output error") as caught, restoring(Path("/c"), "does not fit"):
        raise CheckpointException(DOES_NOT_FIT["size"], volume)
    assert caught.value is volume


@pytest.mark.parametrize("error", [TypeError("a bug"), KeyboardInterrupt(), UntrainableError("model: wrong")])
def test_all_else_passes_a_restore_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, restoring(Path("/c"), "does not fit"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [OSError("can't load"), FileNotFoundError("no file"), UntrainableError("no files")])
def test_a_file_is_not_missing_that_its_volume_does_not_show(error, tmp_path, monkeypatch) -> None:
    """Libraries ask `os.path.isfile`, which says no for a volume that fails."""
    (tmp_path / "tokenizer.json").write_text("{}")
    real = os.stat

    def stale(path, *more, **options):
        if str(path).endswith("tokenizer.json"):
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return real(path, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stale)
        with pytest.raises(OSError, match="Stale"), preparing("model.path", tmp_path):
            raise error
    with pytest.raises(UntrainableError), preparing("model.path", tmp_path):
        raise error
    with pytest.raises(UntrainableError), preparing("model.path", tmp_path / "none"):
        raise error


@pytest.mark.parametrize(
    "error", [ManifestError("spec.x: wrong"), UntrainableError("data: wrong"), KeyboardInterrupt()]
)
def test_what_has_its_words_keeps_them(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, preparing("model.path"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("ranks", "gpus", "fits"), [(1, 0, True), (8, 0, True), (2, 2, True), (1, 4, True), (3, 2, False)]
)
def test_each_rank_needs_a_gpu_where_there_are_any(ranks: int, gpus: int, fits: bool) -> None:
    if fits:
        expect_gpus(ranks, gpus)
        return
    with pytest.raises(LayoutError, match="processesPerWorker: is 3, and this worker sees 2 GPUs"):
        expect_gpus(ranks, gpus)
