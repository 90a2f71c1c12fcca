"""Which checkpoints may be restored: fencing with nothing but a shared file system.

A pod on a lost node may go on training, and writing, after its job has moved on. It cannot be stopped from writing, so
nothing that it writes is ever read: the first act of an incarnation is to create `lineage/<incarnation>`, exclusively,
naming the checkpoint that it restores. From then on only that checkpoint, what came before it, and what the incarnation
itself writes belong to the chain.

    lineage/<n>                 {"restored": "step-40.i2" or null}
    checkpoints/step-<s>.i<n>   written by incarnation n; `dtj.json` inside, last
    .dtj/jobs/<uid>             {"base": b}: the job's incarnation i is number b + i here, so that a job that goes on
                                in the folder of an earlier one never meets that one's numbers

Pure but for the file system: no clock, no environment, no collectives.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE_FILE = "dtj.json"
BAD = ".bad"
"""Behind the name of a checkpoint that was found damaged."""
_NAME = re.compile(r"step-(\d+)\.i(\d+)")


class DamagedError(RuntimeError):
    """Checkpoints were published, and none of them can be restored."""


class StaleError(RuntimeError):
    """A newer incarnation has begun: what this one does will not be read."""


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint by its name."""

    incarnation: int
    step: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"step-{self.step}.i{self.incarnation}"

    @classmethod
    def parse(cls, name: str) -> Checkpoint | None:
        """From the name of a folder; None if it is none."""
        match = _NAME.fullmatch(name)
        return cls(incarnation=int(match[2]), step=int(match[1])) if match else None


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
        """Enter the incarnation for a first save, as whoever only called `find` has not.

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
        lineage = cls(root, "", 0, only_reads=True)
        lineage.number = max(lineage._begun(), default=0)
        return lineage

    def on_line(self) -> list[Checkpoint]:
        """What may be restored now, newest first.

        Raises:
            OSError: the volume failed.
        """
        return list(self._restorable(self._chain(self.number), lambda _: True))

    def best(self) -> Path | None:
        """The newest of `on_line` that is marked as best.

        Raises:
            OSError: the volume failed.
        """
        marked = (path for one in self.on_line() if _is_best(path := self.checkpoints / one.name))
        return next(marked, None)

    def count_start(self, job: str) -> int:
        """Count one more start of a job's processes, and say how many there have been; 0: the volume cannot tell."""
        path = self._job_file(f"{job}.starts")
        try:
            starts = int(path.read_text()) if path.exists() else 0
            path.write_text(str(starts + 1))
        except (OSError, ValueError):
            return 0
        return starts + 1

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

        The one that this incarnation restored stays until `keep` newer ones are there; those of newer incarnations
        are not ours to judge. Once a newer incarnation has begun nothing is: it may stand on what looks old from here.
        """
        if self.stale:
            return []
        chain = self._chain(self.number)
        try:
            on_chain = list(self._restorable(chain, is_valid))
            marked = [c for c in on_chain if best and _is_best(self.checkpoints / c.name)]
        except OSError:
            return []  # What cannot be read now may be whole.
        newest = on_chain[: max(1, keep)]
        kept = {*newest, *marked[:best], *(c for c in on_chain if every and c.step % every == 0)}
        gone = [c.name for c in self.published() if c not in kept and c.incarnation <= self.number]
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
        if not path.exists():
            base = max(self._begun(), default=0)
            if only_reads:
                return base
            self._create(path, {"base": base})
        return int(_read(path)["base"])

    def _job_file(self, job: str) -> Path:
        return self.root / ".dtj" / "jobs" / (re.sub(r"[^\w.-]", "_", job) or "none")

    def _before(self) -> list[Link] | None:
        """The chain that this incarnation would build on; None: it has begun already."""
        begun = self._begun()
        if begun and max(begun) > self.number:
            raise StaleError(f"incarnation {max(begun)} has begun in {self.root}, and this is {self.number}")
        if self.number in begun:
            return None
        return self._chain(max(begun)) if begun else []

    def _enter(self, restored: Checkpoint | None) -> None:
        self._create(self._lineage / str(self.number), {"restored": restored.name if restored else None})

    def _begun(self) -> set[int]:
        with contextlib.suppress(FileNotFoundError):
            return {int(entry.name) for entry in self._lineage.iterdir() if entry.name.isdecimal()}
        return set()

    def _chain(self, number: int) -> list[Link]:
        """From an incarnation back to the first one, each with the part of it that the next one built on."""
        chain = [Link(number, None)]
        while (path := self._lineage / str(chain[-1].incarnation)).exists():
            restored = Checkpoint.parse(str(_restored(path)))
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
            elif not _is_complete(path, one.step):
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

    def _create(self, path: Path, content: dict[str, Any]) -> None:
        """Write a file that no one else has written, whole or not at all; if somebody was first, theirs stands."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
        try:
            write_durably(temporary, json.dumps(content).encode())
            # Unlike a rename, a link never replaces what is there.
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and have it on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_state(path: Path) -> dict[str, Any] | None:
    """What the library keeps in a checkpoint; None if it is not there or torn.

    Raises:
        OSError: the volume failed, which says nothing of the checkpoint.
    """
    try:
        state = _read(path / STATE_FILE)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return state


def _is_complete(path: Path, step: int) -> bool:
    state = read_state(path)
    return state is not None and state.get("step") == step


def _is_best(path: Path) -> bool:
    return (read_state(path) or {}).get("best") is True


def _restored(path: Path) -> str | None:
    """The checkpoint that an incarnation noted."""
    try:
        restored: str | None = _read(path)["restored"]
    except (ValueError, KeyError):
        raise DamagedError(
            f"{path} cannot be read; it should say which checkpoint its incarnation began from, as "
            '{"restored": "step-40.i1"}, or null where it began anew: write that'
        ) from None
    return restored


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not an object")
    return content
