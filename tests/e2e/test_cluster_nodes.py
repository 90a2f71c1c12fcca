"""Nodes of the local cluster that are killed, or whose kubelet is stopped."""

from pathlib import Path

import pytest
from cluster_pods import container_processes, kubectl, wait

from dtj_cluster import ClusterError, network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def node_status(cluster, node):
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return kubectl(cluster, "get", f"node/{node}", "-o", path).stdout


def test_a_killed_node_takes_its_containers_with_it_and_cuts_no_other_off(cluster, peers):
    dying, staying = container_processes(cluster, peers, "b"), container_processes(cluster, peers, "a")

    # Not taken from a port, which would change it under the other nodes when that port's node dies.
    state = cluster.paths.load()
    assert state is not None
    assert state.network is not None
    bridge = Path("/sys/class/net", network.Network(state.network).bridge)
    assert (bridge / "addr_assign_type").read_text() == "3\n"

    cluster.kill_node("node-1")
    try:
        assert not any(process.alive() for process in dying)
        wait(cluster, peers, "condition=Ready=Unknown", "node/node-1")
        assert all(process.alive() for process in staying)
        assert node_status(cluster, "node-0") == "True"
    finally:
        cluster.start_node("node-1")

    assert node_status(cluster, "node-1") == "True"
    wait(cluster, peers, "jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/b")
    wait(cluster, peers, "condition=Ready", "pod/a", "pod/b")


def test_containers_outlive_a_stopped_kubelet(cluster, peers):
    containers = container_processes(cluster, peers, "b")

    cluster.stop_node("node-1")
    try:
        wait(cluster, peers, "condition=Ready=Unknown", "node/node-1")
        assert all(process.alive() for process in containers)
    finally:
        cluster.start_node("node-1")

    wait(cluster, peers, "condition=Ready", "pod/b")
    assert all(process.alive() for process in containers)


def test_a_node_that_is_not_there_is_named_with_those_that_are(cluster):
    with pytest.raises(ClusterError, match="no node 'node-7'; it has node-0, node-1"):
        cluster.kill_node("node-7")
