"""One real node: containerd, kubelet, kube-proxy and the NetworkPolicy firewall in namespaces of their own.

See `node_init` for why a node is a set of namespaces. Its programs see the machine's file system, so all their files
lie in the node's folder, at the same paths inside and outside; containerd's socket is reached from the machine for
that reason.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from dtj_cluster import cgroups, node_config, node_init, seed
from dtj_cluster import network as net
from dtj_cluster.api import Api
from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity, release
from dtj_cluster.node_config import NodeHandle
from dtj_cluster.processes import ProcessTable, argv
from dtj_cluster.state import Options, Paths

PROGRAMS = (
    "containerd",
    "containerd-shim-runc-v2",
    "runc",
    "ctr",
    "cni",
    "kubelet",
    "kube-proxy",
    "kube-router",
    "ipset",
    "iptables",
    "conntrack",
    "mount",
    "ip",
    "nsenter",
)
GPU = "nvidia.com/gpu"
# Written when the namespaces and the link are whole, so that a start that was cut short is seen as one.
_ON = "on"


def node_name(number: int) -> str:
    """The name of node ``number``."""
    return f"node-{number}"


class Node:
    """Node ``number`` of the cluster in ``paths``."""

    def __init__(
        self,
        number: int,
        cluster: str,
        paths: Paths,
        processes: ProcessTable,
        programs: Mapping[str, Path],
        options: Options,
        network: net.Network,
    ) -> None:
        self.number, self.name = number, node_name(number)
        self._cluster, self._paths, self._processes, self._programs = cluster, paths, processes, programs
        self._options, self._network = options, network
        self.handle = NodeHandle(self.name, network.node(number), paths.node(self.name))

    def _process(self, program: str) -> str:
        return f"{self.name}-{program}"

    @property
    def init(self) -> ProcessIdentity | None:
        """The node's first process, None when the node is off."""
        return self._processes.find(self._process("init"))

    def running(self, program: str = "kubelet") -> bool:
        """True while the node's ``program`` runs."""
        return self._processes.find(self._process(program)) is not None

    def power_on(self) -> None:
        """Make the namespaces, the link and containerd; nothing happens when they are there."""
        folder = self.handle.directory
        init = self.init
        if init is None or not (folder / _ON).exists():
            self.power_off()
            seed.plant(self.handle.containerd_root)
            for name in {*node_init.PLACES.values(), "containerd"}:
                (folder / name).mkdir(parents=True, exist_ok=True)
            node_config.write(self.handle, self.number, self._cluster, self._paths, self._programs, self._network)
            cgroups.create(self._cluster, self.name)
            init = self._processes.start(
                self._process("init"),
                ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--propagation", "slave", "--",
                 sys.executable, "-I", "-S", node_init.__file__, str(folder), self.name],
            )  # fmt: skip
            self._processes.wait_for(self._process("init"), (folder / "ready").exists, "the namespaces", 20)
            net.attach_node(self._network, self.number, init)
            (folder / _ON).touch()
        net.route_neighbours(self._network, self.number, init, range(self._options.nodes))
        self._processes.start(
            self._process("containerd"),
            argv(self._programs["containerd"], {"config": folder / "containerd.toml", "log-level": "warn"}),
            inside=init,
        )
        self._processes.wait_for(
            self._process("containerd"), lambda: _listens(self.handle.containerd_socket), "its socket"
        )

    def join(self, api: Api) -> None:
        """Start the kubelet and its companions; wait until the node is Ready."""
        init = self.init
        if init is None:
            raise ClusterError(f"{self.name} is off", f"Run `cluster start-node {self.name}`.")
        api.create("/api/v1/nodes", self._object())
        kubelet = self._process("kubelet")
        # A node that was killed a moment ago still counts as Ready: only a newer report than this one tells anything.
        before = "" if self.running() else self._report(api)[1]
        folder = self.handle.directory
        self._processes.start(
            kubelet,
            argv(
                self._programs["kubelet"],
                {
                    "config": folder / "kubelet.json",
                    "kubeconfig": self._paths.component(self.name),
                    "hostname-override": self.name,
                    "node-ip": self.handle.address,
                    "v": 1,
                },
            ),
            inside=init,
        )
        self._processes.start(
            self._process("kube-proxy"),
            argv(self._programs["kube-proxy"], {"config": folder / "kube-proxy.json"}),
            inside=init,
        )
        self._processes.wait_for(
            kubelet, lambda: self._report(api)[0] and self._report(api)[1] != before, "readiness of the node"
        )
        if self._options.gpus_per_node:
            # The kubelet sets resources that it does not know to zero when it registers; so this comes after.
            count = str(self._options.gpus_per_node)
            api.patch(
                f"/api/v1/nodes/{self.name}/status", {"status": {"capacity": {GPU: count}, "allocatable": {GPU: count}}}
            )

        self._start_firewall(init)

    def _start_firewall(self, init: ProcessIdentity) -> None:
        """After the kubelet, which puts the addresses on the node object: kube-router exits when it finds none."""
        router = self._process("kube-router")
        self._processes.start(
            router,
            net.kube_router_argv(
                self._programs["kube-router"], self.name, self._network, self._paths.component("network")
            ),
            inside=init,
        )
        self._processes.wait_for(router, lambda: net.firewall_healthy(self.handle.address), "an answer on /healthz")

    def ready(self, api: Api) -> bool:
        """True when the API server calls the node Ready."""
        return self._report(api)[0]

    def _report(self, api: Api) -> tuple[bool, str]:
        """Whether the node is Ready, and when its kubelet last said so."""
        node = api.get(f"/api/v1/nodes/{self.name}") or {}
        for condition in node.get("status", {}).get("conditions", []):
            if condition["type"] == "Ready":
                return condition["status"] == "True", condition.get("lastHeartbeatTime") or ""
        return False, ""

    def stop_kubelet(self) -> None:
        """End the kubelet only: containers go on, the control plane loses sight of them."""
        self._processes.stop(self._process("kubelet"), grace=5)

    def power_off(self) -> None:
        """Kill everything on the node at once, as a power cut does."""
        # The first takes all the others with it.
        for program in ("init", "kubelet", "kube-proxy", "kube-router", "containerd"):
            self._processes.stop(self._process(program))
        release(self._paths.root)
        cgroups.remove(self._cluster, self.name)
        self._clear_run()

    def _clear_run(self) -> None:
        for name in (_ON, "ready", "containerd.sock", "containerd.sock.ttrpc"):
            (self.handle.directory / name).unlink(missing_ok=True)

    def _object(self) -> dict[str, object]:
        pods = str(self._network.pods(self.number))
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
            # The firewall needs the pod range on the object, and exits without it.
            "spec": {"podCIDR": pods, "podCIDRs": [pods]},
        }


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
