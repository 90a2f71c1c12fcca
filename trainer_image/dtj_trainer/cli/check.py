"""`dtj check FILE...`: what the API server would say of manifests, without one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dtj_api.base import ManifestError
from dtj_api.names import KIND, ExitCode
from dtj_trainer.cli.manifest import objects_in, read_job


def check(files: Sequence[Path]) -> int:
    """Look at every job of every file and say what is wrong with each; 0 when nothing is."""
    wrong = 0
    for file in files:
        try:
            jobs = [each for each in objects_in(file) if each.get("kind") == KIND]
            if not jobs:
                raise ManifestError(f"{file}: kind: found no object of kind {KIND}")
        except ManifestError as error:
            wrong += _tell(error)
            continue
        for job in jobs:
            try:
                print(f"{file}: {read_job(job, str(file)).name}: nothing is wrong with it")
            except ManifestError as error:
                wrong += _tell(error)
    return int(ExitCode.BAD_CONFIG if wrong else ExitCode.DONE)


def _tell(error: ManifestError) -> int:
    print(f"dtj: {error}", file=sys.stderr)
    return 1
