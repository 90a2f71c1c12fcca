"""Real launchers as processes, forked from one that has imported torch: a launcher is up in a tenth of a second."""

import os

import pytest
from alone import alone
from launcher_jobs import nursery, start
from lineages import incarnation

from dtj.reporting import work
from dtj.saving import requests
from dtj.stages import Stages, stages

__all__ = ["alone", "incarnation", "nursery", "start"]


@pytest.fixture
def one_rank(monkeypatch):
    """This process as the only rank of a job that has not begun, with no launcher and no settings."""
    for name in list(os.environ):
        if name.startswith("DTJ_") or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_WORLD_SIZE"):
            monkeypatch.delenv(name)
    for attribute, value in (("step", 0), ("reports", False), ("done", {}), ("restored", {})):
        monkeypatch.setattr(work, attribute, value)
    monkeypatch.setattr(requests, "last_step", 0)
    for attribute, value in vars(Stages()).items():
        monkeypatch.setattr(stages, attribute, value)
