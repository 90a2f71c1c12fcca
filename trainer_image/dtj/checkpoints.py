"""Saving checkpoints: published whole or not at all.

A checkpoint is written to a folder of another name, made durable, and renamed when all ranks have written theirs. A
rank that fails to write makes the save fail on all ranks, and the earlier checkpoints stand.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dtj import manifest
from dtj.cadence import history
from dtj.group import agree, from_all, from_rank_0, rank, require_group, world_size
from dtj.lineage import STATE_FILE, Lineage, sync_folder, write_durably
from dtj.link import link
from dtj.places import is_launched, is_shared, job_lineage, number, work_dir
from dtj.reporting import phase, work
from dtj.restoring import passed_over, set_aside
from dtj.saving import requests
from dtj_api.names import Env

KEEP = 3
HINT = "LATEST"
BUG_FIRST = 3.0
"""Seconds that a rank waits with its own error while another one ends by a bug."""


class SaveError(OSError):
    """A checkpoint was not published, on any rank; the earlier ones stand. The text says which rank and why."""


@contextlib.contextmanager
def checkpoint_dir(step: int) -> Iterator[Path]:
    """A folder to write a checkpoint of this step into; published when all ranks leave the block without an error.

    All ranks enter it, also those that write nothing; each may write files of its own (names must differ between
    ranks). After the block the checkpoint is durable and is what `latest_checkpoint` finds. It also carries the tokens
    and samples that were reported. Without a folder that all ranks share, nothing is kept.

    Args:
        step: optimizer steps done; names the checkpoint.

    Raises:
        SaveError: on every rank, when one of them could not write.
        RuntimeError: there are several ranks and no process group.
    """
    require_group("dtj.checkpoint_dir()")
    began = time.monotonic()
    with phase("checkpoint"):
        if is_shared():
            with _published(step) as path:
                yield path
        else:
            with tempfile.TemporaryDirectory(prefix="dtj-") as unshared:
                yield Path(unshared)
            _say("the checkpoint is not kept: the job has no volume (spec.checkpoint.volume) and several pods")
    ids, digests = requests.published(step)
    took = time.monotonic() - began
    history.saved(took)
    link.send({"type": "saved", "step": step, "seconds": took, "ids": ids, "digests": digests})
    if number(Env.SAVE_EVERY_AUTO, 0):
        link.send({"type": "cadence", "save_interval": history.interval()})


@contextlib.contextmanager
def _published(step: int) -> Iterator[Path]:
    lineage: Lineage | None = None
    draft = ""
    problem = ""
    if rank() == 0:
        try:
            lineage = job_lineage()
            if not is_launched():
                lineage.enter(lambda path: not manifest.problems(path))
            lineage.checkpoints.mkdir(parents=True, exist_ok=True)
            if not lineage.stale:
                _remove_drafts(lineage.checkpoints)
            folder = lineage.checkpoints / f".draft-{step}.{secrets.token_hex(4)}"
            folder.mkdir()
            draft = str(folder)
        except (OSError, ValueError) as error:
            problem = str(error)
    draft, problem = from_rank_0((draft, problem))
    if problem:
        raise SaveError(f"step {step}: rank 0 cannot write to {work_dir()}: {problem}")
    path = Path(draft)
    failure: Exception | None = None
    try:
        yield path
    except Exception as error:
        failure = error
    _agree_on(failure, step, path)
    if number("LOCAL_RANK", 0) == 0:
        # Each machine holds what its own ranks wrote in a cache of its own.
        try:
            _sync_tree(path)
        except OSError as error:
            failure = error
    listed: list[str] = []
    try:
        listed = manifest.files_in(path)
    except OSError as error:
        failure = error
    _agree_on(failure, step, path)
    # Caches of folders differ between machines, but each rank sees what it wrote.
    mine = manifest.deal(from_all(listed), rank() if world_size() > 1 else 0)
    sums: manifest.Sums = {}
    try:
        sums = manifest.sums_of(path, mine)
    except Exception as error:
        failure = error
    _agree_on(failure, step, path)
    shares = from_all(sums)
    problem = ""
    if lineage is not None:
        try:
            _publish(lineage, path, step, {name: row for share in shares for name, row in share.items()})
        except OSError as error:
            problem = str(error)
    if problem := from_rank_0(problem):
        raise SaveError(f"step {step}: rank 0 could not publish the checkpoint: {problem}")


def _agree_on(failure: Exception | None, step: int, draft: Path) -> None:
    """Either all ranks have written, or all fail together; a rank that went on alone would wait for ever."""
    is_bug = failure is not None and not isinstance(failure, OSError)
    failed, bug = agree([rank() + 1 if failure else 0, int(is_bug)])
    if not failed:
        return
    if rank() == 0:
        shutil.rmtree(draft, ignore_errors=True)
    if failure is not None and is_bug:
        raise failure
    if bug:
        # The first rank to end tells the job's error: let that be the one with the bug.
        time.sleep(BUG_FIRST)
    raise SaveError(f"step {step}: rank {failed - 1} could not write: {failure or 'see its log'}") from failure


def _publish(lineage: Lineage, draft: Path, step: int, sums: manifest.Sums) -> None:
    write_durably(draft / manifest.FILE, manifest.to_json(sums))
    # The totals that belong to this step, for whoever goes on from here.
    state: dict[str, Any] = {"step": step, "totals": work.totals(), "time": time.time(), "manifest": True}
    state["history"] = history.carried()
    write_durably(draft / STATE_FILE, json.dumps(state).encode())
    sync_folder(draft)
    # Without the launcher this is the first that is written.
    set_aside(lineage)
    final = lineage.path(step)
    # The same step again, after a restart that went back behind it: the old one goes once the new one is there.
    earlier = _set_aside(final) if final.exists() else None
    draft.rename(final)
    passed_over.discard(final)
    sync_folder(final.parent)
    if earlier is not None:
        shutil.rmtree(earlier, ignore_errors=True)
    hint = final.parent / f".{HINT}.{secrets.token_hex(4)}"
    hint.write_text(final.name + "\n")
    hint.replace(final.parent / HINT)
    keep, every = number(Env.SAVE_KEEP, KEEP), number(Env.SAVE_KEEP_EVERY, 0)
    for old in lineage.prune(keep, every, lambda path: path not in passed_over):
        _remove(old)


def _remove(path: Path) -> None:
    """Remove a checkpoint so that at no moment half of one is there under its name."""
    shutil.rmtree(_set_aside(path), ignore_errors=True)


def _set_aside(path: Path) -> Path:
    """Take a checkpoint's name away; where it is now."""
    gone = path.with_name(f".gone-{path.name}.{secrets.token_hex(4)}")
    path.rename(gone)
    return gone


def _remove_drafts(folder: Path) -> None:
    """Remove what a killed rank left half written, before it fills the disk. One save runs at a time."""
    for entry in folder.iterdir():
        if entry.name.startswith((".draft-", ".gone-")):
            shutil.rmtree(entry, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            fd = os.open(Path(path, name), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_folder(Path(path))


def superseded() -> bool:
    """Whether a newer incarnation of the job has begun: this process was given up, on a lost node, say.

    What it would write at the end belongs to the newer one. Without a shared folder there is nobody to ask.
    """
    return is_shared() and job_lineage(only_reads=not is_launched()).stale


def _say(text: str) -> None:
    if rank() == 0:
        print(f"dtj: {text}", file=sys.stderr, flush=True)
