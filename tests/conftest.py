"""What the tests of several folders share: a control plane, and a whole cluster, both real and both gone afterwards.

Nothing is started before a test asks for it. A session that is killed leaves its clusters behind; the next one, or any
`cluster up`, finds that their owner has died and clears them.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dtj_cluster import Cluster, ControlPlane, seed
from dtj_cluster.state import state_home

# Ranks that tests start without a launcher; see dtj_trainer.launch.resolver.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:5")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Path]:
    """The kubeconfig of a real API server with controllers and scheduler, but no nodes."""
    with ControlPlane() as plane:
        yield plane.kubeconfig


@contextmanager
def free_name() -> Iterator[str]:
    """The first of e2e, e2e-2, e2e-3 ... that no other session holds: so images stay on disk from one session to the
    next, and two sessions at once do not end each other's cluster.
    """
    state_home().mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        name = "e2e" if number == 1 else f"e2e-{number}"
        with (state_home() / f"{name}.session").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield name
            return


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real cluster with two nodes. DTJ_TEST_CLUSTER names one that is up already, to be used and left as it is."""
    running = os.environ.get("DTJ_TEST_CLUSTER")
    if running:
        yield Cluster(running)
        return
    seed.ensure()
    with free_name() as name, Cluster(name, nodes=2) as own:
        yield own
