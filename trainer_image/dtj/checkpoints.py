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

from dtj.flight import Flight
from dtj.group import Group, new_group, process_group, require_group
from dtj.places import is_launched, is_shared, job_lineage
from dtj.publishing import published
from dtj.reporting import phase
from dtj.saving import SaveError, carried, go_on_without, requests, say, tell_saved, wait_for_save
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
        step: optimizer steps done; names the checkpoint.
        best: it is the best so far. It stays until a later one is marked so, whatever `checkpoint.keep` says.

    Raises:
        SaveError: on every rank, when one of them could not write. Where `should_save` had asked for it and
            `checkpoint.onFailure` is Continue, training goes on without it: that is told, and not raised.
        RuntimeError: there are several ranks and no process group.
    """
    require_group("dtj.checkpoint_dir()")
    began = time.monotonic()
    was_due = requests.due_since is not None
    with phase("checkpoint"):
        _settle()
        if is_shared():
            try:
                with published(carried(step, best=best), _own.group()) as path:
                    yield path
            except SaveError as error:
                save_failed(step, error)
                if not was_due:
                    raise
                go_on_without(error)
                requests.begun(step)
                return
        else:
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
            CPUs.
        best: as for `checkpoint_dir`.

    Raises:
        SaveError: on every rank, when this save, where it is waited for, could not be written. What happens in the
            background is raised by the next `should_save` or `wait_for_save`. As `checkpoint_dir` otherwise.
        RuntimeError: there are several ranks and no process group.
    """
    require_group("dtj.save_in_background()")
    if requests.agreed or not is_shared():
        with checkpoint_dir(step, best=best) as path:
            stage()(path, _own.group().handle)
        return
    due_since = requests.due_since or time.monotonic()
    with phase("checkpoint"):
        _settle()
        _own.watch_the_end()
        flight = Flight(step, partial(_write_and_publish, carried(step, best=best), stage(), _own.group()))
    requests.flight = flight
    requests.begun(step)
    flight.stall = time.monotonic() - due_since


def _write_and_publish(state: dict[str, Any], write: Write, group: Group) -> None:
    with published(state, group) as path:
        write(path, group.handle)


def _settle() -> None:
    """Have no save in the background. That an earlier one failed keeps nobody from trying anew."""
    try:
        wait_for_save()
    except SaveError as error:
        say(str(error))


class _Own:
    """The process group of the saves, and the end of those in the background."""

    def __init__(self) -> None:
        self._world: Any = None
        self._group: Group | None = None
        self._watches = False

    def group(self) -> Group:
        """Made once for each process group of the script; a collective then."""
        dist = process_group()
        world = dist.group.WORLD if dist is not None else None
        if self._group is None or world is not self._world:
            self._world, self._group = world, new_group()
        return self._group

    def watch_the_end(self) -> None:
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


_own = _Own()


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
