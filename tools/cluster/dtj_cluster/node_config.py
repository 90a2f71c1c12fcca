"""What the programs of a node are told: pure functions of its number, its folder and its cluster's network.

Written once, when the node is switched on: containerd reads a network file again whenever it changes, also
half-written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dtj_cluster import cgroups, pki
from dtj_cluster import network as net
from dtj_cluster.api import Object
from dtj_cluster.state import Paths

PAUSE_IMAGE = "localhost/pause:1"


@dataclass(frozen=True)
class NodeHandle:
    """What others need to put images into a node."""

    name: str
    address: str
    directory: Path

    @property
    def containerd_socket(self) -> Path:
        """The socket of the node's containerd; images of pods are in its namespace `k8s.io`."""
        return self.directory / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """Where its images are on disk; kept by `down`."""
        return self.directory / "containerd"


def write(
    handle: NodeHandle, number: int, cluster: str, paths: Paths, programs: Mapping[str, Path], network: net.Network
) -> None:
    """Write all configuration files of node ``number``, with its certificate, into its folder."""
    authority = pki.Authority(paths.pki)
    authority.issue(handle.name, pki.node(handle.name, handle.address))
    authority.kubeconfig(handle.name, f"https://{network.host}:{net.API_PORT}", paths.component(handle.name))
    files = {
        "resolv.conf": f"nameserver {network.host}\n",
        "containerd.toml": containerd(handle, programs),
        f"registries/127.0.0.1:{net.REGISTRY_PORT}/hosts.toml": registry(network),
        "cni.d/10-pods.conflist": json.dumps(cni(network, number), indent=1),
        "kubelet.json": json.dumps(kubelet(handle, cluster, authority, network), indent=1),
        "kube-proxy.json": json.dumps(kube_proxy(handle.name, paths.component("proxy")), indent=1),
    }
    for name, content in files.items():
        file = handle.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def containerd(handle: NodeHandle, programs: Mapping[str, Path]) -> str:
    """containerd of one node. `restrict_oom_score_adj`: machines without CAP_SYS_RESOURCE start no container
    otherwise.
    """
    return f"""\
version = 2
root = "{handle.containerd_root}"
state = "/run/containerd"
[grpc]
  address = "{handle.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs["cni"]}"
    conf_dir = "{handle.directory / "cni.d"}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{handle.directory / "registries"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def registry(network: net.Network) -> str:
    """Where the node finds the registry that the machine calls 127.0.0.1."""
    server = f"http://{network.host}:{net.REGISTRY_PORT}"
    return f'server = "{server}"\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n'


def cni(network: net.Network, number: int) -> Object:
    """Pods of one node: a bridge in the node, addresses of its range, host ports. No masquerading: NetworkPolicy
    needs the pods' own addresses.
    """
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(network.pods(number))}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def kubelet(handle: NodeHandle, cluster: str, authority: pki.Authority, network: net.Network) -> Object:
    """The kubelet of one node; what differs from the defaults is what a shared, disk-poor machine with either cgroup
    version needs.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.name(cluster, handle.name)}",
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Images were brought in by hand and cannot be pulled again: never collect them.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(authority.file(handle.name, "crt")),
        "tlsPrivateKeyFile": str(authority.file(handle.name, "key")),
        "address": handle.address,
        "clusterDomain": "cluster.local",
        "clusterDNS": [network.host],
        "resolvConf": str(handle.directory / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{handle.containerd_socket}",
        "serializeImagePulls": False,
        "maxPods": 200,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "2s",
        "nodeLeaseDurationSeconds": 20,
    }


def kube_proxy(node: str, kubeconfig: Path) -> Object:
    """kube-proxy of one node; conntrack limits are the machine's and stay untouched."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "detectLocalMode": "NodeCIDR",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "100ms"},
        "metricsBindAddress": "127.0.0.1:10249",
    }
