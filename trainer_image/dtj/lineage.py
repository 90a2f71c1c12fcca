"""Which checkpoints may be restored: fencing with nothing but a shared file system.

A pod on a lost node may go on training, and writing, after its job has moved on. It cannot be stopped from writing, so
nothing that it writes is ever read: the first act of an incarnation is to create `lineage/<incarnation>`, exclusively,
naming the checkpoint that it restores. From then on only that checkpoint, what came before it, and what the incarnation
itself writes belong to the chain. What lies beside it is removed in time, but for what an incarnation has written that
noted nothing: nobody knows what that one stood on.

    lineage/<n>                 {"restored": "step-40.i2" or null}, and "format" where it is another one than FORMAT
    checkpoints/step-<s>.i<n>   written by incarnation n; `dtj.json` inside, last
    .dtj/jobs/<uid>             {"base": b}: the job's incarnation i is number b + i here, so that a job that goes on
                                in the folder of an earlier one never meets that one's numbers

Pure but for the file system: no clock, no environment, no collectives.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from dtj.entry import BAD, Checkpoint, DamagedError, is_best, is_complete, restored_by
from dtj.files import create, exists, read_object, replace_durably


class StaleError(RuntimeError):
    """A newer incarnation has begun: what this one does will not be read."""


@dataclass(frozen=True)
class Link:
    """One incarnation on the chain, and up to which of its steps it belongs there (None: all)."""

    incarnation: int
    last_step: int | None


class Lineage:
    """The checkpoints of one job folder, as one incarnation may see them.

    Args:
        root: the job's folder.
        job: uid of the job.
        incarnation: of the job, from 1.
        only_reads: write nothing, not even which number the job begins at; for `find` and `stale`.
    """

    def __init__(self, root: Path, job: str, incarnation: int, *, only_reads: bool = False) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self._lineage = root / "lineage"
        self.number = self._base(job, only_reads) + incarnation
        self.torn: set[Path] = set()
        """Checkpoints that were passed over because the library's own file is not in them."""

    def begin(
        self, is_valid: Callable[[Path], bool] = lambda _: True, held: Set[Checkpoint] = frozenset()
    ) -> Path | None:
        """Enter the incarnation, and find what to restore: the newest checkpoint on its chain.

        The first call of an incarnation fixes what it may see of earlier ones; later calls, after a restart within the
        incarnation, see its own checkpoints too.

        Args:
            is_valid: refuses a checkpoint that is damaged; the one before it is tried then.
            held: what all ranks have in memory, and is whole. That of a step goes before the one on the volume.

        Raises:
            StaleError: a newer incarnation has begun.
            DamagedError: there are checkpoints, and none can be restored. Nothing was written.
            OSError: the volume failed.
        """
        if (before := self._before()) is not None:
            self._enter(self._newest(before, is_valid, held))
        newest = self._newest(self._chain(self.number), is_valid, held)
        return self.checkpoints / newest.name if newest else None

    def find(self, is_valid: Callable[[Path], bool] = lambda _: True) -> Path | None:
        """What `begin` finds, without entering the incarnation: nothing is written, and nothing fixed.

        Raises:
            StaleError, DamagedError, OSError: as `begin`.
        """
        before = self._before()
        newest = self._newest([*self._chain(self.number), *(before or [])], is_valid)
        return self.checkpoints / newest.name if newest else None

    def enter(self, is_valid: Callable[[Path], bool] = lambda _: True) -> None:
        """Enter the incarnation for a first save, where nobody has called `begin`: what `find` would find is noted.

        Args:
            is_valid: as for `begin`.

        Raises:
            OSError: the volume failed.
        """
        if not self.stale and (before := self._before()) is not None:
            self._enter(next(self._restorable(before, is_valid), None))

    @classmethod
    def as_left(cls, root: Path) -> Lineage:
        """As the newest incarnation sees it that has begun: for people, who write nothing."""
        lineage = cls(root, "", 1, only_reads=True)
        lineage.number = max(lineage._begun(), default=lineage.number)
        return lineage

    def on_line(self) -> list[Checkpoint]:
        """What may be restored now, newest first.

        Raises:
            OSError: the volume failed.
        """
        before = None if self.stale else self._before()
        return list(self._restorable([*self._chain(self.number), *(before or [])], lambda _: True))

    def best(self) -> Path | None:
        """The newest of `on_line` that is marked as best.

        Raises:
            OSError: the volume failed.
        """
        marked = (path for one in self.on_line() if is_best(path := self.checkpoints / one.name))
        return next(marked, None)

    def count_start(self, job: str) -> int:
        """Count one more start of a job's processes, and say how many there have been; 0: the volume cannot tell."""
        path = self._job_file(f"{job}.starts")
        try:
            # What is no number was torn, and would be one for ever.
            text = path.read_text() if exists(path) else ""
            starts = 1 + (int(text) if text.isdecimal() else 0)
            replace_durably(path, str(starts).encode())
        except (OSError, ValueError):
            return 0
        return starts

    def path(self, step: int) -> Path:
        """Where this incarnation publishes a checkpoint of a step."""
        return self.checkpoints / Checkpoint(self.number, step).name

    def prune(
        self, keep: int, every: int = 0, is_valid: Callable[[Path], bool] = lambda _: True, best: int = 1
    ) -> list[Path]:
        """What to remove: all but the newest `keep` on the chain, and whatever is off the chain.

        Args:
            keep: at least 1.
            every: those whose step is a multiple of it are kept too; 0: none.
            is_valid: refuses one that is known to be damaged: it is kept for nothing.
            best: so many of the newest that are marked as best (`"best": true` in `dtj.json`) are kept too: a mark says
                that it is better than all before it.

        The one that this incarnation restored stays until `keep` newer ones are there; those of newer incarnations, and
        of such as noted nothing, are not ours to judge. Nothing is before this one has been entered, nor once a newer
        one has begun: it may stand on what looks old from here.
        """
        begun = self._begun()
        if max(begun, default=0) != self.number:
            return []
        chain = self._chain(self.number)
        try:
            on_chain = list(self._restorable(chain, is_valid))
            marked = [c for c in on_chain if best and is_best(self.checkpoints / c.name)]
        except OSError:
            return []  # What cannot be read now may be whole.
        newest = on_chain[: max(1, keep)]
        kept = {*newest, *marked[:best], *(c for c in on_chain if every and c.step % every == 0)}
        judged = {number for number in begun if number <= self.number} | {link.incarnation for link in chain}
        gone = [c.name for c in self.published() if c not in kept and c.incarnation in judged]
        # As long as a whole one of that age would be there, somebody may want to see what became of it.
        oldest = min((c.step for c in newest), default=0)
        gone += [c.name + BAD for c in self.published(BAD) if c.step < oldest and c.incarnation <= self.number]
        return [self.checkpoints / name for name in gone]

    @property
    def stale(self) -> bool:
        """A newer incarnation has begun: this process is a zombie on a lost node, say, and may remove nothing."""
        return max(self._begun(), default=0) > self.number

    def _base(self, job: str, only_reads: bool) -> int:
        """The number before this job's first one in this folder; fixed by whoever asks first and may write."""
        path = self._job_file(job)
        if not exists(path):
            base = max(self._begun() | self._written(), default=0)
            if only_reads:
                return base
            create(path, json.dumps({"base": base}).encode())
        return int(read_object(path)["base"])

    def _job_file(self, job: str) -> Path:
        return self.root / ".dtj" / "jobs" / (re.sub(r"[^\w.-]", "_", job) or "none")

    def _before(self) -> list[Link] | None:
        """The chain that this incarnation would build on; None: it has begun already."""
        begun = self._begun()
        if begun and max(begun) > self.number:
            raise StaleError(f"incarnation {max(begun)} has begun in {self.root}, and this is {self.number}")
        if self.number in begun:
            return None
        if begun:
            return self._chain(max(begun))
        # Nobody has noted anything: an earlier version let scripts save that never asked what to restore.
        return [Link(number, None) for number in sorted(self._written(), reverse=True) if number < self.number]

    def _enter(self, restored: Checkpoint | None) -> None:
        note = {"restored": restored.name if restored else None}
        create(self._lineage / str(self.number), json.dumps(note).encode())

    def _begun(self) -> set[int]:
        with contextlib.suppress(FileNotFoundError):
            return {int(entry.name) for entry in self._lineage.iterdir() if entry.name.isdecimal()}
        return set()

    def _written(self) -> set[int]:
        """Incarnations that have published something."""
        return {one.incarnation for one in self.published()}

    def _chain(self, number: int) -> list[Link]:
        """From an incarnation back to the first one, each with the part of it that the next one built on."""
        chain = [Link(number, None)]
        while (noted := restored_by(self._lineage / str(chain[-1].incarnation))) is not None:
            restored = Checkpoint.parse(str(noted))
            # Numbers only fall along a chain; anything else is a damaged file, which ends it.
            if restored is None or restored.incarnation >= chain[-1].incarnation:
                break
            chain.append(Link(restored.incarnation, restored.step))
        return chain

    def _newest(
        self, chain: list[Link], is_valid: Callable[[Path], bool], held: Set[Checkpoint] = frozenset()
    ) -> Checkpoint | None:
        """The one to restore. To begin anew beside damaged ones ends in removing them: that is the user's choice."""
        found = next(self._restorable(chain, is_valid, held), None)
        damaged = next(self._on(chain), None) if found is None else None
        if damaged is not None:
            path = self.checkpoints / damaged.name
            raise DamagedError(f"{path} cannot be restored, and there is none before it; move it away to begin anew")
        return found

    def _restorable(
        self, chain: list[Link], is_valid: Callable[[Path], bool], held: Set[Checkpoint] = frozenset()
    ) -> Iterator[Checkpoint]:
        """The complete checkpoints on a chain, newest first."""
        for one in self._on(chain, held):
            path = self.checkpoints / one.name
            if one in held:
                yield one
            elif not is_complete(path, one.step):
                self.torn.add(path)
            elif is_valid(path):
                yield one

    def _on(self, chain: list[Link], held: Set[Checkpoint] = frozenset()) -> Iterator[Checkpoint]:
        """All that were published on a chain, and what is held elsewhere, newest first."""
        there = sorted({*self.published(), *held}, reverse=True)
        for link in chain:
            for one in there:
                if one.incarnation == link.incarnation and (link.last_step is None or one.step <= link.last_step):
                    yield one

    def published(self, ending: str = "") -> list[Checkpoint]:
        """All that have this behind their names, on the line or not."""
        with contextlib.suppress(FileNotFoundError):
            entries = [entry.name for entry in self.checkpoints.iterdir() if entry.name.endswith(ending)]
            named = (Checkpoint.parse(name.removesuffix(ending)) for name in entries)
            return [one for one in named if one]
        return []
