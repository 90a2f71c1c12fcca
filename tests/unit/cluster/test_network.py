"""Clusters never overlap, with each other or with what the machine uses already."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_cluster import network, node_config
from dtj_cluster.errors import ClusterError
from dtj_cluster.network import Network

INDEX = st.integers(0, 31)


@given(INDEX, INDEX)
def test_two_clusters_share_no_address(one, other):
    mine, theirs = ([n.everything, n.services] for n in (Network(one), Network(other)))
    overlap = any(a.overlaps(b) for a in mine for b in theirs)
    assert overlap == (one == other)


@given(INDEX, st.integers(0, 31), st.integers(0, 31))
def test_nodes_of_a_cluster_share_no_address(index, one, other):
    net = Network(index)
    assert net.pods(one).subnet_of(net.everything)
    assert ipaddress.ip_address(net.node(one)) in net.nodes
    assert not net.pods(one).overlaps(net.nodes)
    assert net.pods(one).overlaps(net.pods(other)) == (one == other)
    assert net.node(one) != net.host


@given(INDEX, st.integers(0, 31))
def test_link_names_fit_the_kernel(index, number):
    assert len(Network(index).leg(number)) <= 15


CHOICES = [
    ([], [], 0),
    ([0, 1], [], 2),
    ([], ["10.88.0.0/16"], 1),
    ([], ["10.152.7.0/24"], 1),
    ([1], ["10.88.3.4/32"], 2),
    ([], ["192.168.0.0/16"], 0),
]


@pytest.mark.parametrize(("taken", "used", "index"), CHOICES)
def test_the_first_free_network_is_chosen(taken, used, index):
    assert network.choose(taken, [ipaddress.IPv4Network(one) for one in used]).index == index


def test_no_free_network_is_an_error_that_says_where_to_look():
    with pytest.raises(ClusterError, match=r"10\.88\.0\.0/16 to 10\.119\.0\.0/16 is free(?s:.*)ip route"):
        network.choose([], [ipaddress.IPv4Network("10.0.0.0/8")])


def test_pods_keep_their_own_addresses_and_their_nodes_range(tmp_path):
    bridge = node_config.cni(Network(3), 1)["plugins"][0]

    # A policy of another node could not tell pods apart behind a masqueraded address.
    assert bridge["ipMasq"] is False
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.91.2.0/24"}]]


def test_foreign_names_are_answered_in_a_zone_of_their_own(tmp_path):
    zones = network.corefile(Network(0), tmp_path / "kubeconfig").split("}\n.:53 {")

    assert len(zones) == 2
    assert "kubernetes cluster.local" in zones[0]
    assert "template" not in zones[0]
    assert "rcode NXDOMAIN" in zones[1]
    assert all("bind 10.88.0.1" in zone for zone in zones)
