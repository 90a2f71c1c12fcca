"""`dtj-operator copy-launcher DIR`: what the init container of a foreign image runs.

The operator's image holds all packages of dtj, and unlike the trainer's it is small.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from dtj_api import names

PACKAGES = ("dtj_api", "dtj", "dtj_trainer")
_START = Path("dtj_trainer", "launch", names.LAUNCHER_START)


def copy_launcher(folder: Path) -> int:
    """Copy the packages that a worker needs into a folder; the answer is the exit code."""
    try:
        for name in PACKAGES:
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                print(
                    f"dtj-operator: this image lacks the package {name}; build it from our Dockerfile", file=sys.stderr
                )
                return 1
            source, ignored = Path(spec.origin).parent, shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, dirs_exist_ok=True, ignore=ignored)
        shutil.copyfile(folder / _START, folder / _START.name)
    except (OSError, shutil.Error) as error:
        print(f"dtj-operator: {folder}: cannot be written: {error}; give a folder with room", file=sys.stderr)
        return 1
    return 0
