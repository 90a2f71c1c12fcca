"""A small real volume that fills up or turns read-only at any moment of a save, under a process that goes on saving.

    failing_volume.py FOLDER LIVES SEED

The process that owns the mount runs in a mount namespace of its own, so nothing stays mounted whatever becomes of it.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "chaos" / "saves.py"
FILES, BYTES, KEEP = 3, 400_000, 4
SIZE = int((KEEP + 1.6) * FILES * BYTES)
"""Room for those that are kept and the one that is written, and for no other."""
READ_ONLY, REMOUNT = 1, 32
PATIENCE = 20.0
HEALS = 0.6
"""How often the volume is well again while the process still runs."""


def run(folder: Path, lives: int, seed: int) -> dict[str, int]:
    """What was seen: saves published and failed, and lives by trouble.

    Raises:
        AssertionError: something that should not have been.
    """
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", "--kill-child", *rights, sys.executable, __file__]
    ran = subprocess.run([*command, str(folder), str(lives), str(seed)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\nthis needs unshare(1), and root or user namespaces"
    found: dict[str, int] = json.loads(ran.stdout.splitlines()[-1])
    return found


class Volume:
    """A tmpfs of this namespace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._mount(0)

    def fill(self, chance: random.Random) -> None:
        """Leave room for less than one more checkpoint."""
        left = chance.randrange(FILES * BYTES)
        fd = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
        try:
            while (free := os.statvfs(self._folder).f_bavail * os.statvfs(self._folder).f_frsize) > left:
                os.posix_fallocate(fd, os.fstat(fd).st_size, free - left)
        except OSError as error:
            # The process may have taken it first.
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(fd)

    def forbid(self, chance: random.Random) -> None:
        """Turn read-only: in the middle of a save it is refused while a file is open, so between two files of it."""
        deadline = time.monotonic() + PATIENCE
        while not self._mount(REMOUNT | READ_ONLY):
            assert time.monotonic() < deadline, "the volume was never left alone for long enough to turn read-only"

    def heal(self) -> None:
        """Be as before."""
        assert self._mount(REMOUNT)
        self._ballast.unlink(missing_ok=True)

    def _mount(self, flags: int) -> bool:
        target, options = str(self._folder).encode(), f"size={SIZE}".encode()
        if self._libc.mount(b"tmpfs", target, b"tmpfs", flags, options) == 0:
            return True
        code = ctypes.get_errno()
        if code != errno.EBUSY:
            raise OSError(code, os.strerror(code), str(self._folder))
        return False


class Life:
    """One process that restores and then saves step after step."""

    def __init__(self, folder: Path, incarnation: int) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DTJ_")}
        env = clean | {
            "DTJ_WORK_DIR": str(folder / "job"),
            "DTJ_INCARNATION": str(incarnation),
            "DTJ_JOB_UID": "chaos",
            "DTJ_SAVE_KEEP": str(KEEP),
        }
        command = [sys.executable, str(SCRIPT), str(FILES), str(BYTES)]
        self.said: list[dict[str, Any]] = []
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors)
            self._errors = os.dup(errors.fileno())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def hears(self, word: str, after: int = 0, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Wait until it says this word in the line after so many; False: it has ended."""
        deadline = time.monotonic() + PATIENCE
        while not any(word in line for line in self.said[after:]):
            if not self._reader.is_alive():
                return any(word in line for line in self.said[after:])
            assert time.monotonic() < deadline, f"never said: {word}; but last: {self.said[-3:]}"
            meanwhile()
            time.sleep(0.001)
        return True

    def end(self) -> str:
        """Kill it; its errors."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with os.fdopen(self._errors, "rb") as errors:
            errors.seek(0)
            return errors.read().decode()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            # The last line may be cut off.
            for line in lines:
                if line.endswith(b"\n"):
                    self.said.append(json.loads(line))


def main() -> None:
    folder, lives, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    volume = Volume(folder)
    said: Counter[str] = Counter()
    known, struck, strikes = 0, "", itertools.cycle(["full", "read-only"])
    for number in range(1, lives + 1):
        life = Life(folder, 1 + number // 3)
        if not life.hears("restored"):
            errors = life.end()
            assert struck, f"life {number} did not begin: {errors}"
            assert "RestoreError" in errors, errors
            said[f"did not begin while {struck}"] += 1
            volume.heal()
            struck = ""
            continue
        time.sleep(chance.uniform(0.0, 0.1))
        if not struck:
            struck = next(strikes)
            before = len(life.said)
            # What a save that was about to end makes room for is filled up too.
            strike = partial(volume.fill if struck == "full" else volume.forbid, chance)
            strike()
            assert life.hears("failed", before, strike)
            said[struck] += 1
        if chance.random() < HEALS:
            volume.heal()
            struck = ""
            assert life.hears("published", len(life.said))
            said["saved again"] += 1
            time.sleep(chance.uniform(0.0, 0.1))
        life.end()
        restored = life.said[0]
        assert restored["right"], f"life {number} restored something else than was saved as step {restored['restored']}"
        assert restored["restored"] >= known, f"life {number}: step {known} had been published"
        published = [each["published"] for each in life.said if "published" in each]
        said["published"] += len(published)
        said["failed"] += sum("failed" in each for each in life.said)
        known = max([restored["restored"], *published])
    said["step"] = known
    print(json.dumps(said))


if __name__ == "__main__":
    main()
