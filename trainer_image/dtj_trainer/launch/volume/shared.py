"""Whether the shared volume is one volume: each worker must see a file that another one wrote.

Pods that each write checkpoints to a disk of their own look fine until the first restart, which then loads a mixture.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.store.link import StoreLink
from dtj_trainer.launch.volume.errand import begin, within

PATIENCE = 15.0
"""Seconds for a file to appear: network file systems cache what a folder does not hold."""
WRITING = 5.0
"""Seconds for our own file. A volume that takes longer tells nothing; it is probed by others, and no reason to wait."""
GLANCE = 2.0
"""Seconds that a look has at least, however late: one that was cut off must not be taken for a volume that hangs."""
_LOOK = 0.02


class VolumeNotSharedError(Exception):
    """A worker does not see what another one wrote; the text names the file."""


class VolumeCheck:
    """Checks the volume of this pod against those of the others in a round.

    Args:
        work_dir: the job's folder on the volume.
        index: of this pod.
    """

    def __init__(self, work_dir: Path, index: int, patience: float = PATIENCE) -> None:
        self._work_dir = work_dir
        self._index = index
        self._patience = patience

    def run(
        self,
        link: StoreLink,
        incarnation: int,
        round: Round,
        pause: Callable[[float], None],
        superseded: Callable[[], bool],
    ) -> bool:
        """Write a file, tell the others what is in it, look for that of the next member, and agree on the outcome.

        Args:
            link: to the store of the round.
            incarnation: of the round.
            round: as it was formed.
            pause: waits so many seconds, or raises when the launcher is wanted elsewhere.
            superseded: whether the next round has been opened: those who are missing here do not come any more.

        Returns:
            Whether all have looked. One that hangs on its volume counts as having looked: it cannot tell.

        Raises:
            VolumeNotSharedError: some member does not see another one's file.
        """
        prefix = f"round/{round.number}/volume"
        ours = self._work_dir / self._path(incarnation)
        written = within(WRITING, lambda: self._write(ours), pause, "")
        link.set(f"{prefix}/{round.place}", f"{self._path(incarnation)}\n{written}")
        problem = self._look(link, prefix, (round.place + 1) % len(round.members), pause)
        if problem:
            link.create(f"{prefix}/bad", problem)
        link.add(f"{prefix}/looked", 1)
        while link.add(f"{prefix}/looked", 0) < len(round.members):
            if superseded():
                return False
            pause(_LOOK)
        # All have looked. Nobody waits for the end of it.
        begin("volume-errand", lambda: _remove(ours))
        if found := link.get(f"{prefix}/bad"):
            raise VolumeNotSharedError(found)
        return True

    @staticmethod
    def _write(ours: Path) -> str:
        """Write our file; what is in it, or an OSError, as when the disk takes no file."""
        nonce = secrets.token_hex(16)
        ours.parent.mkdir(parents=True, exist_ok=True)
        with ours.open("w") as file:
            file.write(nonce)
            file.flush()
            os.fsync(file.fileno())
        return nonce

    def _path(self, incarnation: int) -> Path:
        return Path(".dtj", "volume-check", str(incarnation), str(self._index))

    def _look(self, link: StoreLink, prefix: str, neighbour: int, pause: Callable[[float], None]) -> str:
        """Look for the neighbour's file; what is wrong, or nothing."""
        deadline = time.monotonic() + self._patience
        path = "the file of its neighbour"
        while time.monotonic() < deadline:
            if (said := link.get(f"{prefix}/{neighbour}")) is not None:
                path, _, nonce = said.partition("\n")
                if not nonce:
                    return ""
                theirs = self._work_dir / path
                left = max(GLANCE, deadline - time.monotonic())
                # No answer at all is no word against the volume: it hangs.
                if within(left, partial(_text, theirs), pause, nonce) == nonce:
                    return ""
            if link.exists(f"{prefix}/bad"):
                return ""
            pause(_LOOK)
        return (
            f"worker {self._index} does not see {path}, which another worker wrote to the volume: the workers mount "
            "different volumes; use a claim that allows ReadWriteMany"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _remove(ours: Path) -> None:
    # The last one to leave finds the folder empty.
    with contextlib.suppress(OSError):
        ours.unlink(missing_ok=True)
        ours.parent.rmdir()
