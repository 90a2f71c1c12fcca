"""The first version of dtj, whose jobs run on under this one and whose operator may come back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

FIRST = "eabc1a7fa952b4fc3fd81708f704c8319af8d1e6"
"""The first version: 0.1.0 as it was on 2026-11-27."""
CHECKOUT = Path(__file__).resolve().parents[2]
CRD = "crds/dtj.dev_distributedtrainingjobs.yaml"


def tree(folder: Path) -> Path:
    """Put the first version's files into a folder.

    Raises:
        RuntimeError: this checkout has not got it; the text says what to do.
    """
    asked = subprocess.run(["git", "archive", FIRST], cwd=CHECKOUT, capture_output=True, check=False)
    if asked.returncode != 0:
        raise RuntimeError(
            f"the first version is not to be had from this checkout (git archive {FIRST}: "
            f"{asked.stderr.decode(errors='replace').strip()}); a shallow clone lacks it: git fetch --unshallow"
        )
    subprocess.run(["tar", "--extract", "--directory", folder], input=asked.stdout, check=True)
    return folder


def builds(folder: Path) -> Path:
    """The first version's files with this one's way to build images: dependencies and base are those of today, so that
    the layer of what is installed is the same, and is made once.
    """
    tree(folder)
    for part in ("Dockerfile", "trainer_image/Dockerfile", "pyproject.toml", "uv.lock", ".dockerignore"):
        shutil.copy(CHECKOUT / part, folder / part)
    shutil.rmtree(folder / "tools/docker")
    shutil.copytree(CHECKOUT / "tools/docker", folder / "tools/docker")
    return folder


def environment(code: Path) -> dict[str, str]:
    """The environment in which a Python of this checkout runs the code of a tree."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(code / part) for part in ("operator", "trainer_image"))}
