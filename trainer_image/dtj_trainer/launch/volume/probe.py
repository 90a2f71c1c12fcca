"""Whether the volume takes files, tried with a small one before ranks start: the first save may be hours away.

A mount that hangs keeps the thread that tries, for ever perhaps. So there is one, it is waited for no longer than a few
seconds, and how long it has been at it is part of what is told. While the volume fails it is tried again and again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dtj import files
from dtj_api.wire import VolumeTry

PATIENCE = 5.0
"""Seconds that the start of ranks waits for it."""
AGAIN = 15.0
"""Seconds after which a volume that failed, or took longer than `PATIENCE`, is tried once more."""
FOLDER = Path(".dtj", "probe")
"""Where the small files are, in the job's folder."""
_TICK = 0.01
_TEXT = 512


class VolumeProbe:
    """Tries the volume of this pod.

    Args:
        work_dir: the job's folder; made where it is missing.
        index: of the worker: files that earlier pods of this index left behind are removed.
        pod_uid: names ours.
        tell: told each outcome, and when one begins to be waited for.
        say: told in words when the volume begins to fail, and that it takes files again.
    """

    def __init__(
        self, work_dir: Path, index: int, pod_uid: str, tell: Callable[[VolumeTry], None], say: Callable[[str], None]
    ) -> None:
        self._work_dir = work_dir
        self._folder = work_dir / FOLDER
        self._name, self._others = f"{index}-{pod_uid}", f"{index}-*"
        self._tell = tell
        self._say = say
        self._last = VolumeTry()
        self._began: float | None = None
        self._wanted = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="volume", daemon=True)

    def ask(self) -> None:
        """Try the volume now, unless somebody is at it."""
        self._idle.clear()
        self._wanted.set()
        if self._thread.ident is None:
            self._thread.start()

    def wait(self, pause: Callable[[float], None], patience: float = PATIENCE) -> None:
        """Wait for what was asked for, unless it has been waited for as long before."""
        began = time.monotonic()
        while not self._idle.is_set():
            now, since = time.monotonic(), self._began
            if now - began >= patience or (since is not None and now - since >= patience):
                return
            pause(_TICK)

    def _run(self) -> None:
        while True:
            failed = self._last.errno is not None or (self._last.seconds or 0.0) > PATIENCE
            self._wanted.wait(AGAIN if failed else None)
            self._wanted.clear()
            self._began = time.monotonic()
            self._note(replace(self._last, waits_since=time.time()))
            self._note(self._try())
            self._began = None
            if not self._wanted.is_set():
                self._idle.set()

    def _note(self, found: VolumeTry) -> None:
        before, self._last = self._last, found
        self._tell(found)
        if found.errno is not None and before.errno != found.errno:
            self._say(f"the volume takes no file: {found.text}")
        elif found.errno is None and before.errno is not None:
            self._say("the volume takes files again")

    def _try(self) -> VolumeTry:
        at, clock = time.time(), time.monotonic()
        code, text = None, ""
        try:
            self._write()
        except OSError as error:
            code = error.errno or 0
            text = f"{error.strerror or error}: {error.filename or self._folder / self._name}"[:_TEXT]
        return VolumeTry(at, round(time.monotonic() - clock, 3), code, text)

    def _write(self) -> None:
        """Create, sync, read back and remove a small file, and do with another one what a checkpoint takes.

        Raises:
            OSError: one of it failed; or something else was read than was written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(self._others):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        path = self._folder / self._name
        # A block, and not what a file system keeps beside the name: that fits where no file does.
        nonce = secrets.token_bytes(4096)
        try:
            with path.open("wb") as file:
                file.write(nonce)
                file.flush()
                os.fsync(file.fileno())
            if path.read_bytes() != nonce:
                raise OSError(0, "something else was read than was written", str(path))
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
        self._publish()

    def _publish(self) -> None:
        """Create a file that nobody else has, in a folder that is renamed: lineage and checkpoints need both."""
        draft, final = (self._folder / f"{self._name}.{ending}" for ending in ("draft", "folder"))
        try:
            files.create(draft / "file", b"")
            draft.rename(final)
            files.sync_folder(self._folder)
        finally:
            for folder in (draft, final):
                shutil.rmtree(folder, ignore_errors=True)
