"""Addresses, the bridge that the nodes hang on, and the cluster's DNS.

Each cluster has one bridge on the machine with the API server and CoreDNS on its address; each node is a network
namespace with one leg on it, its own pod range and its own iptables. So node addresses are real, NetworkPolicy and
kube-proxy of one node never see the other's rules, and the machine's own iptables get one rule: the way to a registry
that listens on the loopback. Pods have no way out, since no node has a default route.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity
from dtj_cluster.processes import ProcessTable, argv, environment
from dtj_cluster.state import Paths

API_PORT = 6443
DNS_PORT = 53
REGISTRY_PORT = 5000
_FIREWALL_HEALTH = 20244
_CHOICES = 32


@dataclass(frozen=True)
class Network:
    """The addresses of the cluster with the number ``index``: everything is computed from it."""

    index: int

    @property
    def bridge(self) -> str:
        """The bridge's name."""
        return f"dtj{self.index}"

    @property
    def nodes(self) -> ipaddress.IPv4Network:
        """The range of the bridge and the nodes."""
        return ipaddress.IPv4Network(f"10.{88 + self.index}.0.0/24")

    @property
    def everything(self) -> ipaddress.IPv4Network:
        """Nodes and pods."""
        return ipaddress.IPv4Network(f"10.{88 + self.index}.0.0/16")

    @property
    def services(self) -> ipaddress.IPv4Network:
        """The range of cluster addresses."""
        return ipaddress.IPv4Network(f"10.{152 + self.index}.0.0/16")

    @property
    def host(self) -> str:
        """The machine's address on the bridge: API server, CoreDNS, registry."""
        return str(self.nodes[1])

    @property
    def first_service(self) -> str:
        """The address of the service `kubernetes`."""
        return str(self.services[1])

    def node(self, number: int) -> str:
        """The address of node ``number``."""
        return str(self.nodes[10 + number])

    def pods(self, number: int) -> ipaddress.IPv4Network:
        """The pod range of node ``number``."""
        return ipaddress.IPv4Network(f"10.{88 + self.index}.{1 + number}.0/24")

    def leg(self, number: int) -> str:
        """The machine's end of node ``number``'s link."""
        return f"{self.bridge}n{number}"


def run(*command: str, check: bool = True) -> str:
    """Run a short command; its output. Raises ClusterError with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment())
    if check and done.returncode != 0:
        raise ClusterError(
            f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}",
            "The cluster needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN on this machine.",
        )
    return done.stdout


def in_use() -> list[ipaddress.IPv4Network]:
    """All ranges that this machine has an address in or a route to, the default route apart."""
    addresses = [
        f"{info['local']}/{info['prefixlen']}"
        for link in json.loads(run("ip", "-json", "-4", "address"))
        for info in link.get("addr_info", [])
        if "local" in info
    ]
    routes = [route["dst"] for route in json.loads(run("ip", "-json", "-4", "route")) if route["dst"] != "default"]
    return [ipaddress.IPv4Network(text, strict=False) for text in [*addresses, *routes]]


def choose(taken: Iterable[int], used: Sequence[ipaddress.IPv4Network]) -> Network:
    """The first network that neither another cluster has taken nor the machine uses. Raises ClusterError when none is
    left.
    """
    others = set(taken)
    for index in range(_CHOICES):
        network = Network(index)
        if index not in others and not any(
            network.everything.overlaps(one) or network.services.overlaps(one) for one in used
        ):
            return network
    raise ClusterError(
        f"none of the {_CHOICES} networks from {Network(0).everything} to {Network(_CHOICES - 1).everything} is free, "
        f"with the service networks from {Network(0).services} that belong to them",
        "See `ip route`; bring clusters down that are not needed (`cluster down --name NAME`).",
    )


def alias(root: Path) -> str:
    """What the bridge is labelled with, so that only its own cluster removes it."""
    return f"dtj-cluster {root}"


def bridge_up(network: Network, root: Path) -> None:
    """Make the bridge with its address, and the registry's way in. Nothing happens when they are there."""
    if not link_exists(network.bridge):
        # A bridge without an address of its own takes that of a port: when the port's node dies, the others would send
        # to the old address until their caches expire, and be lost to the API server for half a minute.
        run("ip", "link", "add", network.bridge, "address", f"02:64:74:6a:00:{network.index:02x}", "type", "bridge")
        run("ip", "link", "set", network.bridge, "alias", alias(root))
    run("ip", "address", "replace", f"{network.host}/{network.nodes.prefixlen}", "dev", network.bridge)
    run("ip", "link", "set", network.bridge, "up")
    Path(f"/proc/sys/net/ipv4/conf/{network.bridge}/route_localnet").write_text("1")
    if not _rule(network, "-C", check=False):
        _rule(network, "-A")


def registry_rule_down(network: Network) -> None:
    """Remove the registry's way in."""
    while _rule(network, "-C", check=False):
        _rule(network, "-D")


def _rule(network: Network, action: str, check: bool = True) -> bool:
    """A registry on the machine's loopback, reached from the nodes at the bridge's address."""
    where = f"-i {network.bridge} -d {network.host} -p tcp --dport {REGISTRY_PORT}".split()
    label = ["-m", "comment", "--comment", f"dtj-cluster {network.bridge}"]
    target = f"-j DNAT --to-destination 127.0.0.1:{REGISTRY_PORT}".split()
    command = ["iptables", "--wait", "-t", "nat", action, "PREROUTING", *where, *label, *target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment())
    if check and done.returncode != 0:
        raise ClusterError(
            f"`{' '.join(command)}` failed: {done.stderr.strip()}", "The cluster needs iptables with the nat table."
        )
    return done.returncode == 0


def link_exists(name: str) -> bool:
    """True when the machine has a link of this name."""
    return Path(f"/sys/class/net/{name}").exists()


def attach_node(network: Network, number: int, init: ProcessIdentity) -> None:
    """Give node ``number``, whose first process is ``init``, its leg on the bridge, its address and the way to
    services.
    """
    leg = network.leg(number)
    if link_exists(leg):
        run("ip", "link", "delete", leg)
    run("ip", "link", "add", leg, "type", "veth", "peer", "name", "eth0", "netns", str(init.pid))
    run("ip", "link", "set", leg, "master", network.bridge, "up")
    commands = [
        "link set lo up",
        f"address add {network.node(number)}/{network.nodes.prefixlen} dev eth0",
        "link set eth0 up",
        f"route add {network.services} via {network.host}",
    ]
    run(
        "nsenter",
        "--target",
        str(init.pid),
        "--net",
        "--",
        "sh",
        "-c",
        "set -e; " + "; ".join(f"ip {command}" for command in commands),
    )
    run("ip", "route", "replace", str(network.pods(number)), "via", network.node(number))


def route_neighbours(network: Network, number: int, init: ProcessIdentity, others: Iterable[int]) -> None:
    """Tell node ``number`` the way to the pods of the ``others``."""
    for other in others:
        if other != number:
            run(
                "nsenter",
                "--target",
                str(init.pid),
                "--net",
                "--",
                "ip",
                "route",
                "replace",
                str(network.pods(other)),
                "via",
                network.node(other),
            )


def corefile(network: Network, kubeconfig: Path) -> str:
    """CoreDNS: the cluster's names with a TTL of one second; any other name does not exist, at once, instead of a
    time-out.

    Two zones, since in one the `template` plugin would answer before the `kubernetes` plugin is asked.
    """
    return f"""\
cluster.local:{DNS_PORT} in-addr.arpa:{DNS_PORT} ip6.arpa:{DNS_PORT} {{
    bind {network.host}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 1
    }}
}}
.:{DNS_PORT} {{
    bind {network.host}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def start_dns(processes: ProcessTable, program: Path, network: Network, paths: Paths) -> None:
    """Start CoreDNS on the bridge and wait until it answers."""
    configuration = paths.root / "Corefile"
    configuration.write_text(corefile(network, paths.component("network")))
    processes.start("coredns", [str(program), "-conf", str(configuration)])
    processes.wait_for("coredns", lambda: _dns_answers(network.host), "an answer", 30)


def _dns_answers(server: str) -> bool:
    """True when ``server`` answers a question for the address of kubernetes.default.svc.cluster.local without an
    error.
    """
    labels = b"".join(bytes([len(label)]) + label for label in b"kubernetes.default.svc.cluster.local".split(b"."))
    question = b"\x64\x74\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.sendto(question, (server, DNS_PORT))
            return probe.recv(512)[3] & 0x0F == 0
        except OSError:
            return False


def kube_router_argv(program: Path, node: str, network: Network, kubeconfig: Path) -> list[str]:
    """kube-router as a firewall only: NetworkPolicy in the node's own iptables."""
    flags = {
        "run-firewall": "true",
        "run-router": "false",
        "run-service-proxy": "false",
        "kubeconfig": kubeconfig,
        "hostname-override": node,
        "service-cluster-ip-range": network.services,
        "health-port": _FIREWALL_HEALTH,
        "v": 1,
    }
    return argv(program, flags)


def firewall_healthy(node_address: str) -> bool:
    """True when the firewall of the node answers that it is healthy."""
    connection = http.client.HTTPConnection(node_address, _FIREWALL_HEALTH, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
