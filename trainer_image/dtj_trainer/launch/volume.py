"""Whether the shared volume is one volume: each worker must see a file that another one wrote.

Pods that each write checkpoints to a disk of their own look fine until the first restart, which then loads a mixture.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from dtj_trainer.launch.round import Round
from dtj_trainer.launch.store_link import StoreLink

PATIENCE = 15.0
"""Seconds for a file to appear: network file systems cache what a folder does not hold."""
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

    def run(self, link: StoreLink, incarnation: int, round: Round, pause: Callable[[float], None]) -> None:
        """Write a file, tell the others what is in it, look for that of the next member, and agree on the outcome.

        Raises:
            VolumeNotSharedError: some member does not see another one's file.
        """
        prefix = f"round/{round.number}/volume"
        link.set(f"{prefix}/{round.place}", self._write(incarnation))
        problem = self._look(link, prefix, (round.place + 1) % len(round.members), pause)
        if problem:
            link.create(f"{prefix}/bad", problem)
        link.add(f"{prefix}/looked", 1)
        while link.add(f"{prefix}/looked", 0) < len(round.members):
            pause(_LOOK)
        # All have looked. The last one to leave finds the folder empty.
        with contextlib.suppress(OSError):
            ours = self._work_dir / self._path(incarnation)
            ours.unlink(missing_ok=True)
            ours.parent.rmdir()
        if found := link.get(f"{prefix}/bad"):
            raise VolumeNotSharedError(found)

    def _write(self, incarnation: int) -> str:
        """Path (within the work dir) and content of our file; empty when the disk takes no file, as when it is full."""
        path = self._path(incarnation)
        nonce = secrets.token_hex(16)
        try:
            (self._work_dir / path).parent.mkdir(parents=True, exist_ok=True)
            with (self._work_dir / path).open("w") as file:
                file.write(nonce)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return ""
        return f"{path}\n{nonce}"

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
                with contextlib.suppress(OSError):
                    if (self._work_dir / path).read_text() == nonce:
                        return ""
            if link.exists(f"{prefix}/bad"):
                return ""
            pause(_LOOK)
        return (
            f"worker {self._index} does not see {path}, which another worker wrote to the volume: the workers mount "
            "different volumes; use a claim that allows ReadWriteMany"
        )
