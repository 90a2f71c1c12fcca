"""`dtj checkpoint list|verify|export`: what lies on a volume, whether it is whole, and its weights as one file.

Nothing here writes to the job's folder, so that it can be used beside a job that runs.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dtj import manifest
from dtj.entry import BAD, STATE_FILE, Checkpoint, read_state
from dtj.files import exists
from dtj.lineage import Lineage
from dtj_api.base import ManifestError


@dataclass(frozen=True)
class Row:
    """One checkpoint."""

    name: str
    step: int
    incarnation: int
    saved_at: float | None
    """Seconds since the epoch."""
    bytes: int
    state: str
    """`current` (on the line that the job goes on from), `off the line` (by a pod that was given up), `torn`, `bad`."""


def show(path: Path, as_json: bool) -> int:
    """Print all checkpoints of a job's folder, newest first; the exit code for the shell.

    Raises:
        ManifestError: there is no such folder.
        OSError: the volume failed.
    """
    rows = rows_of(_root(path))
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    table = Table("checkpoint", "step", "saved", "size", "state", box=None)
    for row in rows:
        saved = "" if row.saved_at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.saved_at))
        table.add_row(row.name, str(row.step), saved, f"{row.bytes / 1e6:.1f} MB", row.state)
    Console(soft_wrap=True).print(table if rows else f"no checkpoint in {path}", highlight=False)
    return 0


def rows_of(root: Path) -> list[Row]:
    """All checkpoints in a job's folder, newest first; those of a running job may go meanwhile."""
    lineage = Lineage.as_left(root)
    line = set(lineage.on_line())
    rows = [_row(lineage.checkpoints, one, "", line) for one in lineage.published()]
    rows += [_row(lineage.checkpoints, one, BAD, line) for one in lineage.published(BAD)]
    return sorted(rows, key=lambda row: (row.incarnation, row.step), reverse=True)


def _row(folder: Path, one: Checkpoint, ending: str, line: set[Checkpoint]) -> Row:
    path = folder / (one.name + ending)
    state = read_state(path)
    word = "bad" if ending else "torn" if state is None else "current" if one in line else "off the line"
    at = (state or {}).get("time")
    return Row(path.name, one.step, one.incarnation, at if isinstance(at, float) else None, _size(path), word)


def _size(path: Path) -> int:
    """Bytes of a checkpoint, as far as it is there: that of a running job may go meanwhile."""
    size = 0
    with contextlib.suppress(FileNotFoundError):
        for name in [*manifest.files_in(path), manifest.FILE]:
            size += (path / name).stat().st_size
    return size


def verify(path: Path, as_json: bool) -> int:
    """Sum all files of one checkpoint, or of all in a folder; 1 if one is damaged.

    Raises:
        ManifestError: there is no such checkpoint.
        OSError: the volume failed.
    """
    paths = [path] if Checkpoint.parse(path.name) else _all_in(_root(path))
    paths_by_name = {one.name: one for one in paths}
    found: dict[str, list[str] | None] = {}
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        for one in progress.track(paths, description="reading"):
            found[one.name] = _wrong_with(one)
    if as_json:
        print(json.dumps({name: {"whole": wrong == [], "problems": wrong} for name, wrong in found.items()}, indent=1))
    else:
        for name, wrong in found.items():
            unknown = "nothing is known of its files: a version that wrote no manifest made it"
            text = unknown if wrong is None else "; ".join(wrong) or _as_far(paths_by_name[name])
            print(f"{name}: {'damaged: ' if wrong else ''}{text}")
    return int(any(found.values()))


def _as_far(path: Path) -> str:
    """Whole, as far as this machine can tell."""
    unknown = manifest.incomparable(manifest.read(path) or {})
    if not unknown:
        return "whole"
    return f"whole by its sizes; sums of the kind {', '.join(sorted(unknown))} cannot be made here"


def _wrong_with(path: Path) -> list[str] | None:
    """What is wrong with a checkpoint; None: nobody can tell."""
    if not exists(path):
        raise ManifestError(f"{path}: found no such checkpoint; `dtj checkpoint list` shows those that are there")
    state = read_state(path)
    if state is None:
        return [f"{STATE_FILE} is missing or cannot be read"]
    if not exists(path / manifest.FILE):
        return [f"{manifest.FILE} is missing"] if state.get("manifest") else None
    try:
        return manifest.problems(path)
    except manifest.OtherFormatError as error:
        raise ManifestError(str(error)) from error


def export(path: Path, target: Path, best: bool) -> int:
    """Write the weights of a checkpoint of the built-in trainer as one safetensors file.

    Args:
        path: of the checkpoint.
        target: the file; it appears whole or not at all.
        best: those of the best evaluation in place of the last ones.

    Raises:
        ManifestError: it is damaged, or has no such weights.
        OSError: the file cannot be written, or the volume failed.
    """
    if wrong := _wrong_with(path):
        raise ManifestError(f"{path}: it is damaged ({'; '.join(wrong)}); choose another one")
    # They take seconds to import, which the other commands need not wait for.
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from dtj_trainer.checkpoint.tensors import BEST, MODEL, load_alone

    weights = load_alone(path, BEST if best else MODEL)
    if not weights:
        what = "weights of a best evaluation" if best else "weights that the built-in trainer wrote"
        raise ManifestError(f"{path}: found no {what}")
    making = target.with_name(f".{target.name}.tmp")
    try:
        save_file(weights, making)
    except SafetensorError as error:
        making.unlink(missing_ok=True)
        raise OSError(errno.EIO, str(error), str(target)) from None
    making.replace(target)
    print(f"{len(weights)} tensors in {target}", file=sys.stderr)
    return 0


def _root(path: Path) -> Path:
    """The job's folder, by itself or by its folder of checkpoints."""
    root = path.parent if path.name == "checkpoints" else path
    if not exists(root / "checkpoints"):
        raise ManifestError(
            f"{path}: found no folder `checkpoints`; give a job's folder on its volume, <job>-<8 letters of its uid>, "
            "or the --out of `dtj run`"
        )
    return root


def _all_in(root: Path) -> list[Path]:
    return [root / "checkpoints" / row.name for row in rows_of(root) if row.state != "bad"]
