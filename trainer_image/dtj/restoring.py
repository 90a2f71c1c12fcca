"""Finding the checkpoint to restore: whole, of this job's own line, and the same one for every rank.

All ranks read the files once, each a share of them, and sum them against the manifest. A checkpoint that is damaged is
told, and set aside as `<name>.bad` once another one has been found; the one before it is restored.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from dtj import manifest
from dtj.cadence import history
from dtj.entry import BAD, STATE_FILE, Checkpoint, read_state
from dtj.files import exists
from dtj.group import from_all, from_rank_0, rank, require_group, world_size
from dtj.lineage import Lineage
from dtj.link import link
from dtj.memory import Memory
from dtj.places import is_launched, is_shared, job_lineage, work_dir
from dtj.reporting import work
from dtj.saving import requests
from dtj.stages import stages
from dtj_api.names import Env

passed_over: set[Path] = set()
"""Checkpoints that this process has found damaged."""
_Said = tuple[str, str | None, str, int | None, dict[str, Any], int]
"""From rank 0 to all: sum this checkpoint, or this one is chosen; the problem and its errno where there is one; the
library's part of what is chosen, and which start of the job this is."""
_NOTHING: _Said = ("", None, "", None, {}, 0)
_SHOWN = 3
"""Files of a damaged checkpoint that are named."""


class RestoreError(OSError):
    """No checkpoint could be chosen because the volume failed: a restart may find it well again."""


def latest_checkpoint(is_valid: Callable[[Path], bool] | None = None, memory: Memory | None = None) -> Path | None:
    """The checkpoint to restore, the same on every rank; None: begin anew.

    A collective when torch.distributed is initialised. Only checkpoints of this job's own line are found: what a pod
    that was given up still writes is never restored. One with a file that is missing, cut short or changed is passed
    over. Tokens and samples go on from what the checkpoint carried. Without the launcher nothing is written.

    Args:
        is_valid: refuses a checkpoint that is of no use to the script (called on rank 0 alone); the one before it is
            tried then.
        memory: of this rank. What all ranks hold in theirs, and is newer than what is on the volume, is restored from
            there: the path is that of this rank's part then.

    Raises:
        RestoreError: on every rank, when the volume failed.
        RuntimeError: there are several ranks and no process group; a newer incarnation has begun; all are damaged; or
            another version of this library wrote what is to be restored, in a format that this one does not know.
    """
    require_group("dtj.latest_checkpoint()")
    if not is_shared():
        return None
    held = memory.held_by_all() if memory is not None else {}
    name, state, starts = _choose(is_valid or (lambda _: True), held.keys())
    if memory is not None:
        chosen = Checkpoint.parse(Path(name or "").name)
        part = held.get(chosen) if chosen is not None else None
        memory.keep_only(part)
        if part is not None:
            name, state = str(part), read_state(part) or {}
    history.restore(state.get("history"), starts)
    link.send({"type": "restored", "step": int(state.get("step", 0))})
    if name is None:
        return None
    # A checkpoint of an earlier version may carry NaN, and every later sum with it would be NaN.
    totals = {key: float(value) for key, value in state.get("totals", {}).items()}
    work.restored = {key: value for key, value in totals.items() if math.isfinite(value)}
    work.done = {}
    work.step = requests.last_step = int(state.get("step", 0))
    stages.restore(state.get("stages"), work.step)
    return Path(name)


def best_checkpoint() -> Path | None:
    """The newest checkpoint of the job's own line that was marked as best, the same on every rank; None: there is none.

    A collective when torch.distributed is initialised. Its files are not summed.

    Raises:
        RestoreError: on every rank, when the volume failed.
        RuntimeError: there are several ranks and no process group.
    """
    require_group("dtj.best_checkpoint()")
    if not is_shared():
        return None
    found, problem = None, ""
    if rank() == 0:
        try:
            found = job_lineage(only_reads=not is_launched()).best()
        except OSError as error:
            problem = str(error)
    found, problem = from_rank_0((found, problem))
    if problem:
        raise RestoreError(f"no checkpoint can be chosen in {work_dir()}: {problem}")
    return found


def _choose(is_valid: Callable[[Path], bool], held: Set[Checkpoint]) -> tuple[str | None, dict[str, Any], int]:
    """Rank 0's choice on every rank, or its error: a failure of the volume stays one, which a restart may mend."""
    if rank() == 0:
        try:
            chosen = _chosen(is_valid, held)
        except Exception as bug:
            # Of the script's own check. The others wait for a word.
            from_rank_0(("chosen", None, f"{type(bug).__name__}: {bug}", None, {}, 0))
            raise
        said = from_rank_0(chosen)
    else:
        said = from_rank_0(_NOTHING)
        while said[0] == "sum":
            from_all(_share_of_problems(Path(said[1] or "")))
            said = from_rank_0(_NOTHING)
    _, name, problem, code, state, starts = said
    if not problem:
        return name, state, starts
    text = f"no checkpoint can be chosen in {work_dir()}: {problem}"
    if code is None:
        raise RuntimeError(text)
    of_volume = RestoreError(text)
    of_volume.errno = code or None
    raise of_volume


def _chosen(is_valid: Callable[[Path], bool], held: Set[Checkpoint]) -> _Said:
    """On rank 0: the path, or the problem, with its errno where the volume failed."""
    try:
        lineage = job_lineage(only_reads=not is_launched())
        path = _look(lineage, _Judge(is_valid), held)
        starts = lineage.count_start(os.environ.get(Env.JOB_UID, "")) if is_launched() else 0
        # What is in memory has its own.
        state = (read_state(path) or {}) if path else {}
    except (OSError, ValueError, RuntimeError) as error:
        code = (error.errno or 0) if isinstance(error, OSError) else None
        return "chosen", None, f"{type(error).__name__}: {error}", code, {}, 0
    return "chosen", (str(path) if path else None), "", None, state, starts


def _look(lineage: Lineage, judge: _Judge, held: Set[Checkpoint]) -> Path | None:
    found: Path | None = None
    try:
        found = lineage.begin(judge, held) if is_launched() else lineage.find(judge)
    finally:
        damaged = judge.damaged | dict.fromkeys(lineage.torn, f"{STATE_FILE} is missing")
        _tell(lineage, damaged, another=found is not None)
    return found


def enter(lineage: Lineage) -> None:
    """Enter the incarnation for its first save, where `latest_checkpoint` has not; on rank 0 alone.

    Raises:
        OSError: the volume failed.
    """
    damaged: dict[Path, str] = {}

    def is_whole(path: Path) -> bool:
        if wrong := manifest.problems(path):
            damaged[path] = "; ".join(wrong[:_SHOWN])
        return not wrong

    lineage.enter(is_whole)
    _tell(lineage, damaged | dict.fromkeys(lineage.torn, f"{STATE_FILE} is missing"), another=False)


class _Judge:
    """Whether a checkpoint can be restored; each is read once."""

    def __init__(self, is_valid: Callable[[Path], bool]) -> None:
        self._is_valid = is_valid
        self._known: dict[Path, bool] = {}
        self.damaged: dict[Path, str] = {}
        """What is wrong with it."""

    def __call__(self, path: Path) -> bool:
        if path not in self._known:
            if wrong := _damage(path):
                self.damaged[path] = wrong
            self._known[path] = not wrong and self._is_valid(path)
        return self._known[path]


def _damage(path: Path) -> str:
    """What all ranks together find wrong with a checkpoint, on rank 0; empty: nothing.

    Raises:
        OSError: the volume failed on one of them.
        OtherFormatError: another version made it.
    """
    if (read_state(path) or {}).get("manifest") and not exists(path / manifest.FILE):
        return f"{manifest.FILE} is missing"
    _tell_unknown_sums(path)
    from_rank_0(("sum", str(path), "", None, {}, 0))
    found: list[str] = []
    for problems, code in from_all(_share_of_problems(path)):
        if code is not None:
            raise OSError(code, problems[0])
        found += problems
    more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _tell_unknown_sums(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        if unknown := manifest.incomparable(manifest.read(path) or {}):
            kinds = ", ".join(sorted(unknown))
            text = f"dtj: of {path} only the sizes are compared: this image cannot make sums of the kind {kinds}"
            print(text, file=sys.stderr, flush=True)


def _share_of_problems(path: Path) -> tuple[list[str], int | None]:
    """What is wrong with this rank's share; with an errno, why it could not be read."""
    world = world_size()
    try:
        return manifest.problems(path, rank() if world > 1 else 0, world), None
    except OSError as error:
        return [f"rank {rank()}: {error.strerror or error}: {error.filename or path}"], error.errno or 0
    except Exception as error:
        # No thread, no memory: the others wait for an answer all the same.
        return [f"rank {rank()}: {type(error).__name__}: {error}"], 0


def _tell(lineage: Lineage, damaged: dict[Path, str], *, another: bool) -> None:
    """Say what is damaged. Where nothing else can be restored it stays where it is: the user decides."""
    passed_over.update(damaged)
    for path, wrong in damaged.items():
        print(f"dtj: {path} is damaged and passed over: {wrong}", file=sys.stderr, flush=True)
        link.send({"type": "damaged", "checkpoint": path.name, "why": wrong})
    if another and is_launched():
        set_aside(lineage)


def set_aside(lineage: Lineage) -> None:
    """Give the checkpoints that were found damaged another name; on rank 0, which found another one to go on from."""
    for path in [] if lineage.stale else sorted(passed_over):
        # Somebody may have removed it, or the volume takes no change: it is passed over all the same.
        with contextlib.suppress(OSError):
            os.rename(path, f"{path}{BAD}")
            # The name is free: the same step may be made again.
            passed_over.discard(path)
