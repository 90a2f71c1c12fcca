"""Where this rank is: its number, its incarnation, and the job's folder."""

from __future__ import annotations

import os
from pathlib import Path

from dtj.lineage import Lineage
from dtj_api.names import Env

OWN_FOLDER = "dtj-work"
"""The job's folder where nobody names one, below the current directory."""


def work_dir() -> Path:
    """The job's folder, on the shared volume: for exports, reports and whatever else must outlive the pods.

    Without a volume it is `dtj-work` in the current directory, which lasts as long as the container.
    """
    return Path(os.environ.get(Env.WORK_DIR) or OWN_FOLDER)


def is_shared() -> bool:
    """Whether all ranks see one `work_dir`: the job has a volume, or all of its ranks are in one pod."""
    return bool(os.environ.get(Env.WORK_DIR)) or number("GROUP_WORLD_SIZE", 1) == 1


def is_launched() -> bool:
    """Whether a launcher has started this rank; only then are there incarnations to be told apart."""
    return Env.INCARNATION in os.environ


def job_lineage(*, only_reads: bool = False) -> Lineage:
    """The checkpoints that this process may see.

    Args:
        only_reads: see `Lineage`.

    Raises:
        OSError: the volume failed.
    """
    return Lineage(work_dir(), os.environ.get(Env.JOB_UID, ""), number(Env.INCARNATION, 1), only_reads=only_reads)


def number(name: str, default: int) -> int:
    """A whole number from the environment."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def seconds(name: str) -> float:
    """A positive number of seconds from the environment; 0: not set."""
    try:
        value = float(os.environ.get(name) or 0)
    except ValueError:
        return 0.0
    return value if 0 < value < float("inf") else 0.0
