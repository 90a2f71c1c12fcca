"""What the tests of several folders share: a control plane, and a whole cluster, both real and both gone afterwards.

Nothing is started before a test asks for it. A session that is killed leaves its clusters behind; the next one, or any
`cluster up`, finds that their owner has died and clears them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtj_cluster import Cluster, ControlPlane


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Path]:
    """The kubeconfig of a real API server with controllers and scheduler, but no nodes."""
    with ControlPlane() as plane:
        yield plane.kubeconfig


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real cluster with two nodes. DTJ_TEST_CLUSTER names one that is up already, to be used and left as it is."""
    running = os.environ.get("DTJ_TEST_CLUSTER")
    if running:
        yield Cluster(running)
        return
    with Cluster("e2e", nodes=2) as own:
        yield own
