"""The cluster of the end-to-end tests with the operator installed from the chart, both images built and loaded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from e2e_jobs import Jobs

from dtj_cluster import Cluster, binaries, images
from dtj_demo import chart
from dtj_demo.commands import Kubectl
from dtj_demo.place import CLAIM, Image, Place


@pytest.fixture(scope="session")
def place(cluster: Cluster) -> Place:
    """The cluster, ready for jobs: real images from the Dockerfiles, the operator installed by helm."""
    programs = binaries.ensure("kubectl", "helm")
    versions = {name: images.ensure(name) for name in ("operator", "trainer")}
    for name in versions:
        images.load(name, cluster.nodes)
    made = Place(
        kubectl=Kubectl(programs["kubectl"], cluster.kubeconfig),
        helm=programs["helm"],
        operator=Image(images.reference("operator"), versions["operator"]),
        trainer=Image(images.reference("trainer"), versions["trainer"]),
        claim=CLAIM,
        read=lambda path: path,
        where=lambda path: path,
        farewell="",
    )
    chart.install(made)
    return made


@pytest.fixture
def jobs(cluster: Cluster, place: Place, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """A namespace of the test's own with a claim; it goes afterwards, while the next test runs in another one."""
    title = request.node.name.replace("_", "-").removeprefix("test-").split("[")[0]
    namespace = f"{title[:40].strip('-')}-{secrets.token_hex(2)}"
    folder = cluster.claim(namespace, place.claim)
    yield Jobs(place, cluster, namespace, folder)
    place.kubectl("delete", "namespace", namespace, "--wait=false")
