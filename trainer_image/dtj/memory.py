"""Checkpoints in the memory of the pods: as many as every few steps, lost with a pod, kept when processes die.

Each rank keeps its own part of the last two in a folder that outlives its process, a memory volume of the pod.
One is restored if all ranks hold their parts of it, whole, and made together: by as many ranks, in the same round of
the same incarnation. So a pod that is lost, or a rank that has come to another place, means that the volume is read.

    step-<s>.i<n>.r<round>.<rank>-<world>/    dtj.json, dtj-manifest.json, and what the rank wrote
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtj import manifest
from dtj.entry import STATE_FILE, Checkpoint
from dtj.files import exists
from dtj.group import from_all, rank, world_size
from dtj.link import link
from dtj.places import is_launched, job_lineage, number
from dtj.saving import carried
from dtj.stages import stages
from dtj.torch_errors import volume_error
from dtj_api.names import Env

KEPT = 2
"""A rank may die while it writes the last one, when others have theirs."""


class Memory:
    """This rank's part of the checkpoints in memory. Without a folder (`DTJ_MEMORY_DIR`) there are none."""

    def __init__(self) -> None:
        folder = os.environ.get(Env.MEMORY_DIR)
        self._folder = Path(folder) if folder and is_launched() else None
        self._every = number(Env.MEMORY_EVERY_STEPS, 0)
        self._incarnation = 0
        self._failed = False

    def due(self, step: int) -> bool:
        """Whether this step is to be kept; the same on all ranks."""
        return self._folder is not None and bool(self._every) and step % self._every == 0

    def keep(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep this rank's part of a step; no collective. A memory that is full costs the checkpoint alone.

        Args:
            step: optimizer steps done.
            write: writes the part into a folder.
        """
        assert self._folder is not None
        step = stages.of_job(step)
        draft = self._folder / f".draft-{rank()}"
        try:
            part = _Part((Checkpoint(self._number(), step), number(Env.ROUND, 0)), _place())
            final = self._folder / part.name
            # Before the new one takes its room; others may still need this rank's last one, and no older one.
            for old in [path for path, each in self._parts() if each.place == part.place][KEPT - 1 :]:
                shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            write(draft)
            (draft / STATE_FILE).write_text(json.dumps(carried(step)))
            (draft / manifest.FILE).write_bytes(manifest.to_json(manifest.sums_of(draft, manifest.files_in(draft))))
            shutil.rmtree(final, ignore_errors=True)
            draft.rename(final)
        except Exception as error:
            failure = volume_error(error, self._folder)
            shutil.rmtree(draft, ignore_errors=True)
            if failure is None:
                raise
            if not self._failed:
                print(
                    f"dtj: step {step} is not kept in memory, nor may later ones be: {failure}",
                    file=sys.stderr,
                    flush=True,
                )
            self._failed = True
            return
        self._failed = False
        link.send({"type": "kept", "memory_step": step})

    def has(self, path: Path) -> bool:
        """Whether a checkpoint is one in memory."""
        return self._folder is not None and path.parent == self._folder

    def held_by_all(self) -> dict[Checkpoint, Path]:
        """What all ranks hold, with this rank's own part; a collective."""
        mine: dict[_Made, Path] = {}
        for path, part in self._parts():
            # A part that cannot be read is one that is not there.
            with contextlib.suppress(OSError, manifest.OtherFormatError):
                if part.place == _place() and exists(path / manifest.FILE) and not manifest.problems(path):
                    mine[part.made] = path
        common = set.intersection(*(set(each) for each in from_all(list(mine))))
        return {made[0]: mine[made] for made in sorted(common)}

    def keep_only(self, chosen: Path | None) -> None:
        """Drop all but what is restored: what others have lost must not be met again with parts that are made anew."""
        if self._folder is None or number("LOCAL_RANK", 0) != 0:
            return
        kept = _Part.parse(chosen.name) if chosen is not None else None
        for path in list(self._folder.iterdir()) if exists(self._folder) else []:
            part = _Part.parse(path.name)
            # Those of the other ranks of this machine are theirs to restore.
            if kept is None or part is None or (part.made, part.place[1]) != (kept.made, kept.place[1]):
                shutil.rmtree(path, ignore_errors=True)

    def _number(self) -> int:
        """The incarnation's in the job's folder; it has begun when the first step is kept."""
        if not self._incarnation:
            self._incarnation = job_lineage(only_reads=True).number
        return self._incarnation

    def _parts(self) -> list[tuple[Path, _Part]]:
        """All parts in the folder, newest first."""
        if self._folder is None or not exists(self._folder):
            return []
        found = [(path, part) for path in self._folder.iterdir() if (part := _Part.parse(path.name))]
        return sorted(found, key=lambda each: each[1].made, reverse=True)


_Made = tuple[Checkpoint, int]
"""Which checkpoint, and the round that made it."""


@dataclass(frozen=True)
class _Part:
    """One rank's part of a checkpoint in memory, by the name of its folder."""

    made: _Made
    place: tuple[int, int]
    """Rank, of how many."""

    @property
    def name(self) -> str:
        return f"{self.made[0].name}.r{self.made[1]}.{self.place[0]}-{self.place[1]}"

    @classmethod
    def parse(cls, name: str) -> _Part | None:
        match = re.fullmatch(r"(step-\d+\.i\d+)\.r(\d+)\.(\d+)-(\d+)", name)
        checkpoint = Checkpoint.parse(match[1]) if match else None
        if match is None or checkpoint is None:
            return None
        return cls((checkpoint, int(match[2])), (int(match[3]), int(match[4])))


def _place() -> tuple[int, int]:
    return rank(), world_size()
