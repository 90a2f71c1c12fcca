"""What the tests of several folders share: a control plane, and a whole cluster, both real and both gone afterwards.

At the end of each run: the sum of the time by part.

Nothing is started before a test asks for it. A session that is killed leaves its clusters behind; the next one, or any
`cluster up`, finds that their owner has died and clears them.
"""

from __future__ import annotations

import collections
import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dtj_cluster import Cluster, ControlPlane, seed
from dtj_cluster.state import state_home

LONG_PARTS = {"tests/unit/trainer", "tests/unit/launch"}
"""Parts of few tests a file, which start ranks."""
SHOWN_PARTS = 12
"""So many parts are named, those that took longest."""
# Ranks that tests start without a launcher; see dtj_trainer.launch.ranks.resolver.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:5")
# How long an example takes is the machine's matter. On top of the profile that Hypothesis has for CI, where it is one.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")


def part(nodeid: str) -> str:
    """Where a test's time is counted: its folder below tests/unit, its file elsewhere."""
    file = Path(nodeid.partition("::")[0])
    return str(file.parent if "unit" in file.parts else file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: one that comes last runs alone, and the other cores wait for it."""
    items.sort(key=lambda item: part(item.nodeid) not in LONG_PARTS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the time went: the sum of set-up, test and clean-up by part, of all processes that ran tests."""
    seconds: dict[str, float] = collections.defaultdict(float)
    tests: dict[str, int] = collections.defaultdict(int)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[part(report.nodeid)] += report.duration
                tests[part(report.nodeid)] += report.when == "call"
    if len(seconds) > 1:
        terminalreporter.section("sum by part")
        for name in sorted(seconds, key=lambda name: -seconds[name])[:SHOWN_PARTS]:
            terminalreporter.line(f"{seconds[name]:8.1f}s {tests[name]:6} tests  {name}")


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
