"""Saving checkpoints: at once, or in the background while training goes on."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from dtj.agreement import agreement
from dtj.flight import Flight
from dtj.group import Group, OwnGroup, agree, control, expect_all, from_rank_0, rank, require_group
from dtj.places import is_launched, is_shared, job_lineage
from dtj.publishing import BUG_FIRST, published
from dtj.reporting import phase
from dtj.saving import SaveError, carried, go_on_without, requests, say, tell_saved, wait_for_save
from dtj.stages import stages
from dtj.troubles import save_failed

Write = Callable[[Path, Any], None]
"""Writes this rank's part into a folder; the second argument is the process group to do so through, None: one rank."""


@contextlib.contextmanager
def checkpoint_dir(step: int, *, best: bool = False) -> Iterator[Path]:
    """A folder to write a checkpoint of this step into; published when all ranks leave the block without an error.

    All ranks enter it, also those that write nothing; each may write files of its own (names must differ between
    ranks). After the block the checkpoint is durable and is what `latest_checkpoint` finds. It also carries the tokens
    and samples that were reported. Without a folder that all ranks share, nothing is kept.

    Args:
        step: optimizer steps done; names the checkpoint, counted on from earlier stages where there are any.
        best: it is the best so far. It stays until a later one is marked so, whatever `checkpoint.keep` says.

    Raises:
        SaveError: on every rank, when one of them could not write. Where `should_save` had asked for it and
            `checkpoint.onFailure` is Continue, training goes on without it: that is told, and not raised.
        RuntimeError: there are several ranks and no process group.
    """
    require_group("dtj.checkpoint_dir()")
    # What is asked for now is answered by this save, and by no later one.
    requests.agree(agreement.settle())
    began = time.monotonic()
    was_due = requests.due_since is not None
    with phase("checkpoint"):
        _settle()
        if is_shared():
            expect_all(f"dtj.checkpoint_dir({step})")
            step = _of_job(step)
            try:
                with published(carried(step, best=best), control.get()) as path:
                    yield path
            except SaveError as error:
                save_failed(step, error)
                if not was_due:
                    raise
                go_on_without(error)
                requests.begun(step)
                return
        else:
            step = stages.saved(step)
            with tempfile.TemporaryDirectory(prefix="dtj-") as unshared:
                yield Path(unshared)
            say("the checkpoint is not kept: the job has no volume (spec.checkpoint.volume) and several pods")
    requests.begun(step)
    took = time.monotonic() - began
    tell_saved(step, took, took, requests.answer())


def save_in_background(step: int, stage: Callable[[], Write], *, best: bool = False) -> None:
    """Have a checkpoint of this step written and published by a thread, while training goes on.

    Call it on every rank. One save goes on at a time, so the one before is waited for. A save that was asked for (the
    pod is about to leave, say) is published before this returns, since the steps that would come meanwhile would be
    lost. Call `wait_for_save` before the end.

    Args:
        step: optimizer steps done; names the checkpoint.
        stage: called at once, when no earlier save goes on, to copy what training is about to change; the function
            that it returns writes this rank's part of that copy into a folder (names must differ between ranks). Where
            that needs collectives, it must do them through the process group that it is given, of all ranks on their
            CPUs; it must not keep it, for an error on one rank ends it.
        best: as for `checkpoint_dir`.

    Raises:
        SaveError: on every rank, when this save, where it is waited for, could not be written. What happens in the
            background is raised by the next `should_save` or `wait_for_save`. As `checkpoint_dir` otherwise.
        RuntimeError: there are several ranks and no process group.
    """
    require_group("dtj.save_in_background()")
    requests.agree(agreement.settle())
    if requests.agreed or not is_shared():
        with checkpoint_dir(step, best=best) as path:
            _writing.renew()
            _write(lambda *given: stage()(*given), path)
        return
    due_since = requests.due_since or time.monotonic()
    with phase("checkpoint"):
        _settle()
        _end.watch()
        write = _staged(step, stage)
        step = _of_job(step)
        _writing.renew()
        flight = Flight(step, partial(_write_and_publish, carried(step, best=best), write, _beside.get()))
    requests.flight = flight
    requests.begun(step)
    flight.stall = time.monotonic() - due_since


def _of_job(step: int) -> int:
    """The job's step for one that all ranks save, as rank 0 counts: it may be the only one that reports."""
    made, carried = from_rank_0((stages.saved(step), stages.carried()))
    stages.adopt(carried, made)
    return made


def _staged(step: int, stage: Callable[[], Write]) -> Write:
    """Copy on all ranks, or on none: a thread would wait for a rank that has none for as long as for a volume."""
    write: Write | None = None
    failure: Exception | None = None
    try:
        write = stage()
    except Exception as error:
        failure = error
    expect_all(f"dtj.save_in_background({step})")
    (failed,) = agree([rank() + 1 if failure else 0])
    if failure is not None:
        raise failure
    if failed or write is None:
        # The first rank to end tells the job's error: let that be the one with the bug.
        time.sleep(BUG_FIRST)
        raise SaveError(f"step {step}: rank {failed - 1} could not copy what was to be saved: see its log")
    return write


def _write_and_publish(state: dict[str, Any], write: Write, group: Group) -> None:
    with published(state, group) as path:
        _write(write, path)


def _write(write: Write, path: Path) -> None:
    """Write this rank's part. Where that fails, nobody waits in a collective of the write that it never comes to."""
    try:
        write(path, _writing.handle)
    except BaseException as error:
        _writing.end(error)
        raise


def _settle() -> None:
    """Have no save in the background. That an earlier one failed keeps nobody from trying anew."""
    try:
        wait_for_save()
    except SaveError as error:
        say(str(error))


class _End:
    """The end of the script, with a save in the background."""

    def __init__(self) -> None:
        self._watches = False

    def watch(self) -> None:
        """A script that ends well may have forgotten to wait; one that fails waits for nobody."""
        if self._watches:
            return
        self._watches = True
        # The hooks of `atexit` come too late: by then no thread may be started, and the save starts some.
        threading._register_atexit(_finish)  # type: ignore[attr-defined]
        before = sys.excepthook

        def abandon(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            requests.flight = None
            before(kind, error, trace)

        sys.excepthook = abandon


_end = _End()
_beside = OwnGroup()
"""The group in which the threads that save agree."""
_writing = OwnGroup()
"""The group that they write through."""


def _finish() -> None:
    flight = requests.flight
    try:
        wait_for_save()
    except BaseException as error:
        print(f"dtj: the last save was not published: {error}", file=sys.stderr, flush=True)
        if flight is not None and not isinstance(error, SaveError):
            save_failed(flight.step, SaveError(str(error)))


def superseded() -> bool:
    """Whether a newer incarnation of the job has begun: this process was given up, on a lost node, say.

    What it would write at the end belongs to the newer one. Without a shared folder there is nobody to ask.
    """
    return is_shared() and job_lineage(only_reads=not is_launched()).stale
