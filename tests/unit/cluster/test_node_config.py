"""The settings without which nodes on one machine do not start, or disturb each other."""

import pytest

from dtj_cluster import node_config, pki
from dtj_cluster.network import Network
from dtj_cluster.node_config import NodeHandle

NETWORK = Network(0)


def handle(tmp_path, number=0):
    return NodeHandle(f"node-{number}", NETWORK.node(number), tmp_path / f"node-{number}")


def kubelet(tmp_path, number=0, cluster="dtj"):
    authority = pki.Authority(tmp_path / "pki")
    return node_config.kubelet(handle(tmp_path, number), cluster, authority, NETWORK)


def test_two_kubelets_share_no_control_group_and_no_address(tmp_path):
    one, other = kubelet(tmp_path, 0), kubelet(tmp_path, 1)

    assert (one["cgroupRoot"], other["cgroupRoot"]) == ("/dtj-dtj/node-0", "/dtj-dtj/node-1")
    assert (one["address"], other["address"]) == ("10.88.0.10", "10.88.0.11")
    assert kubelet(tmp_path, cluster="other")["cgroupRoot"] == "/dtj-other/node-0"


NEEDED = [
    ("failCgroupV1", False),
    ("cgroupDriver", "cgroupfs"),
    ("failSwapOn", False),
    ("enforceNodeAllocatable", []),
    ("clusterDNS", ["10.88.0.1"]),
    # An image that was brought in by hand cannot be pulled again.
    ("imageGCHighThresholdPercent", 100),
]


@pytest.mark.parametrize(("field", "value"), NEEDED)
def test_a_kubelet_gets_what_it_does_not_start_or_serve_without(tmp_path, field, value):
    assert kubelet(tmp_path)[field] == value


def test_kubelets_let_nobody_in_unknown(tmp_path):
    assert kubelet(tmp_path)["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet(tmp_path)["authorization"] == {"mode": "Webhook"}


def test_containerd_keeps_to_the_nodes_folder_and_starts_containers_without_cap_sys_resource(tmp_path):
    text = node_config.containerd(handle(tmp_path), {"cni": tmp_path / "plugins"})

    assert f'root = "{tmp_path}/node-0/containerd"' in text
    assert f'address = "{tmp_path}/node-0/containerd.sock"' in text
    assert 'sandbox_image = "localhost/pause:1"' in text
    assert "restrict_oom_score_adj = true" in text
    assert f'bin_dir = "{tmp_path}/plugins"' in text


def test_the_registry_of_the_machine_is_found_on_the_bridge_without_tls():
    assert 'server = "http://10.88.0.1:5000"' in node_config.registry(NETWORK)


def test_kube_proxy_leaves_the_machines_connection_limits_alone(tmp_path):
    config = node_config.kube_proxy("node-0", tmp_path / "kubeconfig")

    assert config["conntrack"]["maxPerCore"] == 0
    assert config["mode"] == "iptables"
