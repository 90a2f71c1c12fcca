"""A mount that hangs, as one of NFS does whose server is away: imported into launchers, which it holds in the call that
the variable TEST_HANGS names, as a file system would."""

import os
import pathlib
import threading
from typing import Any

NEVER = threading.Event()
_listed, _synced, _made = pathlib.Path.iterdir, os.fsync, pathlib.Path.mkdir


def _iterdir(path: pathlib.Path) -> Any:
    if os.environ.get("TEST_HANGS") == "listing" and path.name == "logs":
        NEVER.wait()
    return _listed(path)


def _mkdir(path: pathlib.Path, *args: Any, **more: Any) -> None:
    if os.environ.get("TEST_HANGS") == "making" and ".dtj" in path.parts:
        NEVER.wait()
    _made(path, *args, **more)


def _fsync(descriptor: int) -> None:
    if os.environ.get("TEST_HANGS") == "syncing":
        NEVER.wait()
    _synced(descriptor)


pathlib.Path.iterdir, os.fsync = _iterdir, _fsync  # type: ignore[assignment, method-assign]
pathlib.Path.mkdir = _mkdir  # type: ignore[assignment, method-assign]
