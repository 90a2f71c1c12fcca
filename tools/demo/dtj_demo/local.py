"""The cluster of real parts on this machine, made by tools/cluster."""

from __future__ import annotations

from pathlib import Path

from dtj_cluster import binaries, images, seed
from dtj_cluster.cluster import Cluster
from dtj_cluster.errors import ClusterError
from dtj_cluster.status import Status
from dtj_cluster.together import together
from dtj_demo.commands import Kubectl
from dtj_demo.place import CLAIM, NAMESPACE, Image, Place
from dtj_demo.show import Show


def prepare(show: Show, name: str) -> Place:
    """Start the cluster when it is not up, build the images and put them onto its nodes."""
    cluster = Cluster(name)
    programs: dict[str, Path] = {}
    versions: dict[str, str] = {}
    with show.part("programs and images"):
        # The compilers keep all cores busy, and the images' builds wait for the disk: side by side both are faster.
        together(
            [
                lambda: programs.update(binaries.ensure("kubectl", "helm", "etcd", "coredns", "kube-router")),
                lambda: versions.update({image: images.ensure(image) for image in ("operator", "trainer")}),
            ]
        )
        seed.ensure()
    with show.part("cluster"):
        _up(cluster)
    with show.part("images onto the nodes"):
        for image in versions:
            images.load(image, cluster.nodes)
    folder = cluster.claim(NAMESPACE, CLAIM)
    return Place(
        kubectl=Kubectl(programs["kubectl"], cluster.kubeconfig),
        helm=programs["helm"],
        operator=Image(images.reference("operator"), versions["operator"]),
        trainer=Image(images.reference("trainer"), versions["trainer"]),
        claim=CLAIM,
        read=lambda path: read_file(folder / path),
        where=lambda path: str(folder / path),
        farewell=f'The cluster is still up. Look around: eval "$(tools/cluster/cluster env --name {name})"; '
        f"kubectl --namespace {NAMESPACE} get dtj\nStop it: make cluster-down",
    )


def _up(cluster: Cluster) -> None:
    # A cluster that is up already may have more nodes than the demo asks for: it is taken as it is.
    if Status.of(cluster).phase != "Up":
        cluster.up()


def read_file(path: Path) -> str:
    """The text of a file of this machine. Raises ClusterError when it cannot be read."""
    try:
        return path.read_text()
    except OSError as error:
        raise ClusterError(f"{path}: {error.strerror}") from None
