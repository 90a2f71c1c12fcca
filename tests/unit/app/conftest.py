"""An API server of a few lines behind a real socket, and operators as processes before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fake_apiserver import FakeApiServer, Start, a_fake_cluster


@pytest.fixture
async def fake_cluster(tmp_path: Path) -> AsyncIterator[tuple[FakeApiServer, Start]]:
    """See `a_fake_cluster`."""
    async with a_fake_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def server(fake_cluster: tuple[FakeApiServer, Start]) -> FakeApiServer:
    """The server; it is up."""
    return fake_cluster[0]


@pytest.fixture
def start(fake_cluster: tuple[FakeApiServer, Start]) -> Start:
    """Begin one more operator, with these arguments."""
    return fake_cluster[1]
