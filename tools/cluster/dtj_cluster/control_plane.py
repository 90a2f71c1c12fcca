"""etcd, the API server, the controller manager and the scheduler, as programs of this machine.

etcd runs without fsync: a test cluster does not outlive its machine. A control plane without nodes listens on the
loopback at ports that were free, so that any number of them run side by side; one with nodes listens on their
bridge.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from dtj_cluster import network as net
from dtj_cluster import pki
from dtj_cluster.api import Api
from dtj_cluster.errors import ClusterError
from dtj_cluster.processes import ProcessTable, argv
from dtj_cluster.state import Options, Paths

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
PORTS = ("etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler")
# Lost nodes are noticed after 20 s instead of 50: kubelets here renew their lease every few seconds.
NODE_MONITOR_GRACE = "20s"


def require_free(address: str, port: int, purpose: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Raise ClusterError, with whom to look for, when somebody listens on ``address``:``port`` already."""
    with socket.socket(type=kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            option = "t" if kind is socket.SOCK_STREAM else "u"
            raise ClusterError(
                f"port {port} on {address}, needed for {purpose}, cannot be had: {error.strerror}",
                f"See who has it with `ss -ln{option}p 'sport = :{port}'`, stop it, then run the command again.",
            ) from None


class ControlPlaneParts:
    """The four programs of one cluster. ``network`` is None for a control plane without nodes."""

    def __init__(
        self,
        paths: Paths,
        processes: ProcessTable,
        programs: Mapping[str, Path],
        options: Options,
        ports: Mapping[str, int],
        network: net.Network | None,
    ) -> None:
        self._paths, self._processes, self._programs, self._options, self._ports = (
            paths,
            processes,
            programs,
            options,
            ports,
        )
        self._network = network
        self.host = network.host if network else "127.0.0.1"
        self.port = net.API_PORT if network else ports["apiserver"]
        self.authority = pki.Authority(paths.pki)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.host}:{self.port}"

    def check_ports(self) -> None:
        """Raise ClusterError when somebody else has one of the loopback ports; asked before the first start only."""
        if self._processes.find("etcd") is None:
            for name, port in self._ports.items():
                require_free("127.0.0.1", port, name)

    def issue(self) -> None:
        """Make the keys, the certificates and the kubeconfigs of all components."""
        services = self._network.first_service if self._network else "10.96.0.1"
        self.authority.create()
        self.authority.issue("apiserver", pki.api_server(sorted({"127.0.0.1", self.host, services})))
        for name, subject in pki.COMPONENTS.items():
            self.authority.issue(name, subject)
        for name in ("controller-manager", "scheduler", "proxy", "network"):
            self.authority.kubeconfig(name, self.server, self._paths.component(name))
        self.authority.kubeconfig("admin", self.server, self._paths.kubeconfig)

    def api(self) -> Api:
        """A client with the administrator's certificate."""
        return Api(self.host, self.port, self._paths.pki)

    def start_etcd(self) -> None:
        """Start etcd and wait until it answers."""
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "etcd-peer"))
        flags = {
            "data-dir": self._paths.root / "etcd",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "quota-backend-bytes": 4 * 2**30,
        }
        self._processes.start("etcd", argv(self._programs["etcd"], flags))
        healthy = partial(_answers, "http", self._ports["etcd"], "/health")
        self._processes.wait_for("etcd", healthy, "an answer on /health")

    def start_api_server(self) -> None:
        """Start the API server and wait until it is ready."""
        self._processes.start("apiserver", self._api_server_argv())
        self._processes.wait_for("apiserver", self.api().ready, "readiness")

    def start_controllers(self) -> None:
        """Start the controller manager and the scheduler; wait until both are healthy and pods can be created."""
        self._processes.start("controller-manager", self._controllers_argv())
        self._processes.start("scheduler", self._scheduler_argv())
        for name in ("scheduler", "controller-manager"):
            healthy = partial(_answers, "https", self._ports[name], "/healthz")
            self._processes.wait_for(name, healthy, "an answer on /healthz")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._processes.wait_for(
            "controller-manager", lambda: self.api().get(account) is not None, "the service account `default`"
        )

    def _api_server_argv(self) -> list[str]:
        file, network = self.authority.file, self._network
        flags = {
            "etcd-servers": f"http://127.0.0.1:{self._ports['etcd']}",
            "bind-address": self.host,
            "secure-port": self.port,
            "advertise-address": self.host,
            "tls-cert-file": file("apiserver", "crt"),
            "tls-private-key-file": file("apiserver", "key"),
            "client-ca-file": self.authority.certificate,
            "kubelet-client-certificate": file("kubelet-client", "crt"),
            "kubelet-client-key": file("kubelet-client", "key"),
            "kubelet-certificate-authority": self.authority.certificate,
            # Without it the API server looks node names up, which no resolver of the machine knows: logs and exec fail.
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
            "service-account-key-file": file("service-accounts", "pub"),
            "service-account-signing-key-file": file("service-accounts", "key"),
            "service-cluster-ip-range": network.services if network else "10.96.0.0/16",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "allow-privileged": "true",
            # A loopback address is refused as the endpoint of the service `kubernetes`.
            "endpoint-reconciler-type": "lease" if network else "none",
        }
        return argv(self._programs["kube-apiserver"], flags)

    def _controllers_argv(self) -> list[str]:
        file = self.authority.file
        flags = {
            "kubeconfig": self._paths.component("controller-manager"),
            "service-account-private-key-file": file("service-accounts", "key"),
            "root-ca-file": self.authority.certificate,
            "leader-elect": "false",
            "bind-address": "127.0.0.1",
            "secure-port": self._ports["controller-manager"],
            "tls-cert-file": file("controller-manager", "crt"),
            "tls-private-key-file": file("controller-manager", "key"),
            "node-monitor-grace-period": NODE_MONITOR_GRACE,
            "node-monitor-period": "2s",
            # A claim with a volume of its own is bound on a timer only, every 15 s by default.
            "pvclaimbinder-sync-period": "1s",
            **self._client_limits(),
        }
        return argv(self._programs["kube-controller-manager"], flags)

    def _scheduler_argv(self) -> list[str]:
        file = self.authority.file
        flags = {
            "kubeconfig": self._paths.component("scheduler"),
            "leader-elect": "false",
            "bind-address": "127.0.0.1",
            "secure-port": self._ports["scheduler"],
            "tls-cert-file": file("scheduler", "crt"),
            "tls-private-key-file": file("scheduler", "key"),
            **self._client_limits(),
        }
        return argv(self._programs["kube-scheduler"], flags)

    def _client_limits(self) -> dict[str, object]:
        qps = self._options.client_qps
        return {} if qps is None else {"kube-api-qps": qps, "kube-api-burst": 2 * qps}


def _answers(scheme: str, port: int, path: str) -> bool:
    """True when the loopback server at ``port`` answers 200; whose certificate it shows does not matter for that."""
    connection: http.client.HTTPConnection
    if scheme == "https":
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
