"""The few collectives that ranks need to act as one, through groups of the library's own: of all ranks, on their CPUs.

Nothing goes through the script's own group. That may be one of GPUs, where a word costs a wait for all work that is
queued and goes by a device that the script may not have set yet; and a thread that talks beside the script's own
collectives would be taken for one of them. So there is a group for the main thread and, for saves in the background,
one to agree in and one to write through, which may end by the error of one rank. torch is never imported here: a script
without it has one rank and nothing to agree on.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from dtj.places import number

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""For how long ranks wait for one that writes to a volume."""
ABSENT = timedelta(minutes=30)
"""For how long they wait at least for one that does not come: Gloo's own default."""
ASK_AFTER = 60.0
"""Seconds after which a rank says that it waits for others to come."""


def process_group() -> Any | None:
    """torch.distributed if the script has initialised it."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def rank() -> int:
    """The global rank, also before the process group is there."""
    dist = process_group()
    return int(dist.get_rank()) if dist else number("RANK", 0)


def world_size() -> int:
    """How many ranks agree with each other."""
    dist = process_group()
    return int(dist.get_world_size()) if dist else 1


def require_group(what: str) -> None:
    """Refuse to act alone where others are meant to act too.

    Raises:
        RuntimeError: there are several ranks, and no process group to agree through.
    """
    if process_group() is None and (world := number("WORLD_SIZE", 1)) > 1:
        raise RuntimeError(
            f"{what} needs all {world} ranks to agree: call torch.distributed.init_process_group() before it"
        )


@dataclass(frozen=True)
class Group:
    """All ranks, for collectives beside the script's own. It stays a group of as many, whatever the script does."""

    handle: Any
    """torch's process group; None: there is one rank."""
    rank: int
    size: int


class OwnGroup:
    """A group of all ranks, made when it is first needed and anew for each process group of the script."""

    def __init__(self) -> None:
        self._world: Any = None
        self._group: Group | None = None

    def get(self) -> Group:
        """The group; the first call is a collective of the main thread."""
        dist = process_group()
        world = dist.group.WORLD if dist is not None else None
        if self._group is None or world is not self._world:
            self._world, self._group = world, _new_group(dist)
        return self._group

    @property
    def handle(self) -> Any:
        """torch's process group of the last `get`; None: there is one rank. Whoever keeps it keeps it from ending."""
        return self._group.handle if self._group is not None else None

    def renew(self) -> None:
        """Make the group anew on all ranks, where one of them has ended it; a collective of the main thread."""
        (ended,) = agree([int(self._group is None)])
        if ended:
            self.end()
        self.get()

    def end(self, error: BaseException | None = None) -> None:
        """Close the connections of this rank at once: whoever waits in the group for it fails too.

        Args:
            error: why. Its frames are cleared, for a group ends with the last that knows it.
        """
        group, self._group = self._group, None
        dist = process_group()
        if error is not None:
            _clear_frames(error)
        if group is not None and group.handle is not None and dist is not None:
            # It may be gone with the script's own.
            with contextlib.suppress(AssertionError, ValueError):
                dist.destroy_process_group(group.handle)


control = OwnGroup()
"""That of the main thread."""


def _clear_frames(error: BaseException) -> None:
    known: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in known:
            known.add(id(each))
            traceback.clear_frames(each.__traceback__)
            pending += [each.__cause__, each.__context__]


def _new_group(dist: Any) -> Group:
    """It waits for as long as a volume may take: who dies is seen by the connection that breaks."""
    if dist is None or dist.get_world_size() == 1:
        return Group(None, rank(), 1)
    if not hasattr(dist, "set_timeout"):
        return Group(dist.new_group(backend="gloo", timeout=PATIENCE), rank(), world_size())
    # Whoever does not come at all is waited for no longer than in the script's own collectives.
    handle = dist.new_group(backend="gloo", timeout=patience_of_the_script(dist))
    dist.set_timeout(PATIENCE, handle)
    return Group(handle, rank(), world_size())


def patience_of_the_script(dist: Any) -> timedelta:
    """The longest that one of its own collectives waits, and no less than it may take one of them to evaluate, say."""
    known = [ABSENT]
    with contextlib.suppress(AttributeError, RuntimeError):
        world = dist.group.WORLD
        for device in world._device_types:
            timeout = world._get_backend(device).options._timeout
            known += [timeout] if isinstance(timeout, timedelta) else []
    return max(known)


def expect_all(what: str) -> None:
    """Return when every rank has come here, a collective; say who waits for whom where that takes long.

    Args:
        what: the call that all have to make.

    Raises:
        RuntimeError: one has not come for longer than the script's own collectives wait, and than half an hour.
    """
    told = threading.Timer(ASK_AFTER, _tell_that_it_waits, (what,))
    told.daemon = True
    told.start()
    began = time.monotonic()
    patience: timedelta | None = None
    try:
        group = control.get()
        dist = _talk_through(group)
        if dist is not None:
            patience = patience_of_the_script(dist)
            dist.monitored_barrier(group.handle, timeout=patience, wait_all_ranks=True)
    except RuntimeError:
        if patience is None or time.monotonic() - began < patience.total_seconds():
            raise
        raise RuntimeError(
            f"rank {rank()} was left alone in {what} for {patience.total_seconds():.0f} s: call it on every rank, also "
            "on those that write nothing; where one has to work for longer before it, let init_process_group() know"
        ) from None
    finally:
        told.cancel()


def _tell_that_it_waits(what: str) -> None:
    text = (
        f"dtj: rank {rank()} has waited for other ranks in {what} for {ASK_AFTER:.0f} s; it is for every rank to call"
    )
    print(text, file=sys.stderr, flush=True)


def agree(values: list[int], group: Group | None = None) -> list[int]:
    """The largest of each value over all ranks; a collective.

    Args:
        values: of this rank; at least one.
        group: to talk through; the one of the main thread if none is given.

    Raises:
        RuntimeError: the script has destroyed its process groups, and this one with them.
    """
    group = group or control.get()
    dist = _talk_through(group)
    if dist is None:
        return values
    torch = sys.modules["torch"]
    tensor = torch.tensor(values, dtype=torch.int64, device="cpu")
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=group.handle)
    return [int(value) for value in tensor.tolist()]


def from_all(value: T, group: Group | None = None) -> list[T]:
    """The value of every rank, by rank; a collective, as `agree`."""
    group = group or control.get()
    dist = _talk_through(group)
    if dist is None:
        return [value]
    values = [value] * group.size
    dist.all_gather_object(values, value, group=group.handle)
    return values


def from_rank_0(value: T, group: Group | None = None) -> T:
    """The value of rank 0; a collective, as `agree`."""
    group = group or control.get()
    dist = _talk_through(group)
    if dist is None:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=group.handle)
    return box[0]


def _talk_through(group: Group) -> Any | None:
    """torch.distributed, or None where there is one rank. A group of several never turns into one of one."""
    if group.size == 1:
        return None
    dist = process_group()
    if dist is None:
        raise RuntimeError("the process groups are gone before the save has ended; call dtj.wait_for_save() first")
    return dist
