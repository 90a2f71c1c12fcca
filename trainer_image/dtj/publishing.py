"""Publishing a checkpoint: whole or not at all, by all ranks together.

A checkpoint is written to a folder of another name, made durable, summed, and renamed when all ranks have written
theirs. A rank that fails to write makes the save fail on all ranks, and the earlier checkpoints stand.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dtj import manifest
from dtj.entry import STATE_FILE
from dtj.files import GONE, exists, make_folder, move_aside, remove_folder, sync_folder, sync_tree, write_durably
from dtj.group import Group, agree, from_all, from_rank_0
from dtj.lineage import Lineage
from dtj.places import job_lineage, number, work_dir
from dtj.restoring import enter, passed_over, set_aside
from dtj.saving import SaveError
from dtj.torch_errors import is_of_another_rank, of_distributed_checkpoint, volume_error
from dtj_api.names import Env

KEEP = 3
HINT = "LATEST"
BUG_FIRST = 3.0
"""Seconds that a rank waits with its own error while another one ends by a bug."""


@contextlib.contextmanager
def published(state: dict[str, Any], group: Group) -> Iterator[Path]:
    """A folder to write a checkpoint into; all ranks leave the block together, and then it is published.

    Args:
        state: `carried` of its step.
        group: of all ranks, of which this is the only user now.

    Raises:
        SaveError: on every rank, when one of them could not write.
    """
    step = int(state["step"])
    lineage: Lineage | None = None
    draft = problem = ""
    code: int | None = None
    if group.rank == 0:
        folder = work_dir() / "checkpoints" / f".draft-{step}.{secrets.token_hex(4)}"
        draft = str(folder)
        try:
            lineage = job_lineage()
            enter(lineage)
            make_folder(lineage.checkpoints)
            if not lineage.stale:
                _remove_drafts(lineage.checkpoints)
                # A save that was killed before it came to that may have left no room for another one.
                if not passed_over:
                    _prune(lineage)
            folder.mkdir()
        except Exception as error:
            # Whatever it is: the others wait for a word.
            problem = str(error) if isinstance(error, OSError | ValueError | RuntimeError) else repr(error)
            code = error.errno if isinstance(error, OSError) else None
    draft, problem, code = from_rank_0((draft, problem, code), group)
    path = Path(draft)
    failure: BaseException | None = None
    try:
        yield path
    except BaseException as error:
        if not isinstance(error, Exception) and not of_distributed_checkpoint(error):
            raise
        failure = volume_error(error, path) or error
    if problem:
        # The block had to be run: it may have raised what it will for a folder that is not there, or have made one.
        if group.rank == 0:
            shutil.rmtree(path, ignore_errors=True)
        raise SaveError(f"step {step}: rank 0 cannot write to {work_dir()}: {problem}", code)
    _agree_on(failure, step, path, group)
    listed: list[str] = []
    try:
        listed = manifest.files_in(path)
    except OSError as error:
        failure = error
    # Caches of folders differ between machines, but each rank sees what it wrote.
    listings = from_all(listed, group)
    if not any(listings) and failure is None:
        failure = RuntimeError(f"step {step}: no rank has written anything into its checkpoint: it is not published")
    mine = manifest.deal(listings, group.rank if group.size > 1 else 0)
    sums: manifest.Sums = {}
    try:
        sums = _sync_and_sum(path, mine)
    except Exception as error:
        failure = error
    _agree_on(failure, step, path, group)
    shares = from_all(sums, group)
    problem = ""
    if lineage is not None:
        try:
            _publish(lineage, path, state, {name: row for share in shares for name, row in share.items()})
        except OSError as error:
            problem, code = str(error), error.errno
        except Exception as error:
            problem = repr(error)
    problem, code = from_rank_0((problem, code), group)
    if problem:
        raise SaveError(f"step {step}: rank 0 could not publish the checkpoint: {problem}", code)


def _sync_and_sum(draft: Path, files: list[str]) -> manifest.Sums:
    """Sum what this rank is to sum while the disk takes in what this machine has written."""
    with ThreadPoolExecutor(1) as beside:
        # Each machine holds what its own ranks wrote in a cache of its own.
        synced = beside.submit(sync_tree, draft) if number("LOCAL_RANK", 0) == 0 else None
        sums = manifest.sums_of(draft, files)
        if synced is not None:
            synced.result()
    return sums


def _agree_on(failure: BaseException | None, step: int, draft: Path, group: Group) -> None:
    """Either all ranks have written, or all fail together; a rank that went on alone would wait for ever."""
    # Who failed because another one did has nothing of its own to tell.
    follows = failure is not None and is_of_another_rank(failure)
    is_bug = failure is not None and not isinstance(failure, OSError) and not follows
    errno = failure.errno if isinstance(failure, OSError) else None
    me = group.rank + 1
    first = me if failure is not None and not follows else 0
    failed, bug, code, followed = agree([first, int(is_bug), errno or 0, me if follows else 0], group)
    if not failed and not followed:
        return
    if group.rank == 0:
        shutil.rmtree(draft, ignore_errors=True)
    if failure is not None and is_bug:
        raise failure
    if bug:
        # The first rank to end tells the job's error: let that be the one with the bug.
        time.sleep(BUG_FIRST)
    why = "see its log" if failure is None or (follows and failed) else failure
    text = f"step {step}: rank {(failed or followed) - 1} could not write: {why}"
    raise SaveError(text, code or None) from failure


def _publish(lineage: Lineage, draft: Path, state: dict[str, Any], sums: manifest.Sums) -> None:
    write_durably(draft / STATE_FILE, json.dumps(state | {"time": time.time()}).encode())
    write_durably(draft / manifest.FILE, manifest.to_json(sums | manifest.sums_of(draft, [STATE_FILE])))
    sync_folder(draft)
    # Without the launcher this is the first that is written.
    set_aside(lineage)
    final = lineage.path(int(state["step"]))
    # The same step again, after a restart that went back behind it: the old one goes once the new one is there.
    earlier = move_aside(final) if exists(final) else None
    draft.rename(final)
    passed_over.discard(final)
    sync_folder(final.parent)
    if earlier is not None:
        shutil.rmtree(earlier, ignore_errors=True)
    with contextlib.suppress(OSError):
        # For people alone: the checkpoint is published without it.
        hint = final.parent / f".{HINT}.{secrets.token_hex(4)}"
        hint.write_text(final.name + "\n")
        hint.replace(final.parent / HINT)
    _prune(lineage)


def _prune(lineage: Lineage) -> None:
    keep, every = number(Env.SAVE_KEEP, KEEP), number(Env.SAVE_KEEP_EVERY, 0)
    for old in lineage.prune(keep, every, lambda path: path not in passed_over):
        try:
            remove_folder(old)
        except OSError as error:
            # It costs room, and that is all.
            print(f"dtj: an old checkpoint cannot be removed: {error}", file=sys.stderr, flush=True)


def _remove_drafts(folder: Path) -> None:
    """Remove what a killed rank left half written, before it fills the disk. One save runs at a time."""
    for entry in folder.iterdir():
        if entry.name.startswith((".draft-", GONE)):
            shutil.rmtree(entry, ignore_errors=True)
