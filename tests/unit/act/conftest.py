"""A job of two workers on the in-memory API server, and the operator that looks after it; a launcher that answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fake_launcher import launcher, victim
from operator_lives import Cluster

__all__ = ["cluster", "launcher", "victim"]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Nothing has been looked at yet: `train` it."""
    cluster = Cluster()
    yield cluster
    await cluster.end()
