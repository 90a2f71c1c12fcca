"""The cluster as a whole: which part comes when, what runs side by side, and how it all ends.

`up` may be repeated: each part finds what is there. It resumes only a cluster whose last `up` came to its end and
whose API server and etcd are still the ones it started; anything else is what a hard kill left, and is cleared first.
`down` keeps two things on disk, the nodes' image stores and the shared volume, so that the next `up` need not unpack
gigabytes again; `purge` removes these too.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM
from types import TracebackType
from typing import Self

from dtj_api.ports import free_ports
from dtj_cluster import binaries, clean, control_plane, fake_nodes, images, network, node, volume
from dtj_cluster.api import Api
from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity
from dtj_cluster.network import Network
from dtj_cluster.node import Node
from dtj_cluster.node_config import NodeHandle
from dtj_cluster.processes import ProcessTable
from dtj_cluster.procfs import boot_id
from dtj_cluster.progress import steps
from dtj_cluster.state import Options, Paths, Phase, State, all_locked
from dtj_cluster.together import together
from dtj_preflight.machine import for_nodes, linux


class Cluster:
    """The cluster called ``name``. As a context manager it is up inside and gone after, also when this process is
    killed (cleared by the next one).
    """

    def __init__(
        self,
        name: str = "dtj",
        *,
        nodes: int = 2,
        fake_nodes: int = 0,
        control_plane_only: bool = False,
        gpus_per_node: int = 0,
        client_qps: int | None = None,
    ) -> None:
        self.name = name
        self.paths = Paths.of(name)
        self.options = Options.checked(
            nodes=0 if control_plane_only else nodes,
            fake_nodes=fake_nodes,
            control_plane_only=control_plane_only,
            gpus_per_node=gpus_per_node,
            client_qps=client_qps,
        )
        self._processes = ProcessTable(self.paths.root)

    def __enter__(self) -> Self:
        self.up(owner=ProcessIdentity.of(os.getpid()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.paths.kubeconfig

    def up(self, owner: ProcessIdentity | None = None) -> None:
        """Start what is not running. ``owner`` is the process that the cluster must not outlive."""
        found = list(linux())
        if not self.options.control_plane_only:
            found = found or list(for_nodes())
            self.paths.check_for_nodes()
        if found:
            raise ClusterError("\n".join(map(str, found)))
        clean.clear_orphans()
        with self.paths.locked():
            self._processes = ProcessTable(self.paths.root)
            state = self._begin(owner)
            try:
                self._up(state)
            except BaseException:
                self._processes.cancel()
                # What was up before stays up; a start that failed leaves nothing but its logs.
                if state.phase is Phase.STARTING:
                    clean.clear(self.paths, state)
                raise

    def down(self, purge: bool = False) -> None:
        """Stop and remove everything but the image stores and the shared volume; with ``purge`` those too."""
        if not self.paths.root.exists():
            return
        with self.paths.locked():
            state = self.paths.load()
            if state is not None:
                with steps.step(f"cluster {self.name}: stop"):
                    clean.clear(self.paths, state)
            if purge or (state.options if state else self.options).control_plane_only:
                clean.remove_files(self.paths)

    def api(self) -> Api:
        """A client of the running cluster. Raises ClusterError when it is not up."""
        state = self._running()
        host, port = (
            ("127.0.0.1", state.ports["apiserver"])
            if state.network is None
            else (Network(state.network).host, network.API_PORT)
        )
        return Api(host, port, self.paths.pki)

    @property
    def nodes(self) -> list[NodeHandle]:
        """The real nodes of the running cluster. Raises ClusterError when it is not up."""
        return [one.handle for one in self._running_nodes()]

    def node(self, name: str) -> Node:
        """The node called ``name``. Raises ClusterError when there is none."""
        nodes = {one.name: one for one in self._running_nodes()}
        if name not in nodes:
            raise ClusterError(
                f"cluster {self.name} has no node {name!r}; it has {', '.join(nodes) or 'none'}",
                "`cluster status` lists them.",
            )
        return nodes[name]

    def stop_node(self, name: str) -> None:
        """End the node's kubelet; its containers go on."""
        with self.paths.locked():
            self.node(name).stop_kubelet()

    def kill_node(self, name: str) -> None:
        """Kill the node's kubelet, containers and network at once."""
        with self.paths.locked():
            self.node(name).power_off()

    def start_node(self, name: str) -> None:
        """Start what is not running of the node; wait until it is Ready."""
        with self.paths.locked():
            one = self.node(name)
            _starter(one)()
            _joiner(one, self.api())()

    def claim(self, namespace: str, name: str) -> Path:
        """Make a ReadWriteMany claim ``name`` in ``namespace`` on the shared volume; returns its folder on this
        machine.
        """
        return volume.claim(self.api(), self.paths.volume, namespace, name)

    def _running(self) -> State:
        state = self.paths.load()
        if state is None or not clean.intact(self.paths, state):
            raise ClusterError(f"cluster {self.name} is not up", f"Run `cluster up --name {self.name}`.")
        return state

    def _running_nodes(self) -> list[Node]:
        state = self._running()
        if state.network is None:
            return []
        programs = self._programs(state.options)
        return [self._node(number, state, programs, Network(state.network)) for number in range(state.options.nodes)]

    def _begin(self, owner: ProcessIdentity | None) -> State:
        """The state to go on from: that of a cluster that is up, or a new one after clearing what is left of the
        old.
        """
        old = self.paths.load()
        if old is not None and clean.intact(self.paths, old):
            state = old.model_copy(update={"options": self._grown(old)})
        else:
            if old is not None:
                with steps.step(f"cluster {self.name}: clear what an earlier run left"):
                    clean.clear(self.paths, old)
            self._processes.forget_logs()
            state = State(
                name=self.name,
                boot=boot_id(),
                phase=Phase.STARTING,
                options=self.options,
                owner=owner,
                ports=dict(zip(control_plane.PORTS, free_ports(len(control_plane.PORTS)), strict=True)),
            )
            if not self.options.control_plane_only:
                with all_locked():
                    state = clean.take_from_machine(self.paths, state)
                    self.paths.save(state)
        self.paths.save(state)
        return state

    def _grown(self, old: State) -> Options:
        """The options of a cluster that is up, with more nodes if more are asked for now."""
        fixed = ("control_plane_only", "client_qps", "gpus_per_node")
        changed = [field for field in fixed if getattr(old.options, field) != getattr(self.options, field)]
        if changed:
            raise ClusterError(
                f"cluster {self.name} is up with other options ({', '.join(changed)})",
                f"Run `cluster down --name {self.name}` first, or use another --name.",
            )
        larger = {
            field: max(getattr(old.options, field), getattr(self.options, field)) for field in ("nodes", "fake_nodes")
        }
        return old.options.model_copy(update=larger)

    def _up(self, state: State) -> None:
        options = state.options
        net = None if state.network is None else Network(state.network)
        programs = self._programs(options)
        parts = control_plane.ControlPlaneParts(self.paths, self._processes, programs, options, state.ports, net)
        nodes = [] if net is None else [self._node(number, state, programs, net) for number in range(options.nodes)]
        parts.check_ports()
        with steps.step("keys and certificates"):
            parts.issue()
        if net is not None:
            with steps.step(f"network {net.everything} on bridge {net.bridge}"):
                self._make_network(state, net)
        work = [lambda: self._start_control_plane(parts, programs, net), *(_starter(one) for one in nodes)]
        together(work, give_up=self._processes.cancel)
        api = parts.api()
        if net is not None:
            volume.create_shared(api, self.paths.volume)
        together([_joiner(one, api) for one in nodes], give_up=self._processes.cancel)
        if options.fake_nodes:
            with steps.step(f"{options.fake_nodes} fake nodes"):
                fake_nodes.start(self._processes, programs["kwok"], self.paths, api, options)
        self.paths.save(state.model_copy(update={"phase": Phase.UP}))

    def _programs(self, options: Options) -> dict[str, Path]:
        wanted = [*control_plane.PROGRAMS]
        if not options.control_plane_only:
            wanted += [*node.PROGRAMS, "coredns"]
        if options.fake_nodes:
            wanted.append("kwok")
        return binaries.ensure(*wanted)

    def _node(self, number: int, state: State, programs: dict[str, Path], net: Network) -> Node:
        return Node(number, self.name, self.paths, self._processes, programs, state.options, net)

    def _make_network(self, state: State, net: Network) -> None:
        for folder in state.folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
        if not network.link_exists(net.bridge):
            network.bridge_up(net, self.paths.root)
            for port, purpose, kind in (
                (network.API_PORT, "the API server", SOCK_STREAM),
                (network.DNS_PORT, "the cluster's DNS", SOCK_DGRAM),
            ):
                control_plane.require_free(net.host, port, purpose, kind)

    def _start_control_plane(
        self, parts: control_plane.ControlPlaneParts, programs: dict[str, Path], net: Network | None
    ) -> None:
        with steps.step("etcd"):
            parts.start_etcd()
        with steps.step("API server"):
            parts.start_api_server()
        with steps.step("controller manager and scheduler"):
            parts.start_controllers()
        if net is not None:
            with steps.step("DNS"):
                network.start_dns(self._processes, programs["coredns"], net, self.paths)


def _starter(one: Node) -> Callable[[], None]:
    def start() -> None:
        with steps.step(f"{one.name}: namespaces and containerd"):
            one.power_on()
            images.load("pause", [one.handle])

    return start


def _joiner(one: Node, api: Api) -> Callable[[], None]:
    def join() -> None:
        with steps.step(f"{one.name}: kubelet"):
            one.join(api)

    return join


class ControlPlane(Cluster):
    """A control plane without real nodes, for tests: its name is made up unless given, and its files go with it.

    As a context manager it is up inside; any number may be up at once, each on ports of its own. Needs no root.
    """

    _number = itertools.count()

    def __init__(self, name: str | None = None, *, fake_nodes: int = 0, client_qps: int | None = None) -> None:
        super().__init__(
            name or f"test-{os.getpid()}-{next(self._number)}",
            control_plane_only=True,
            fake_nodes=fake_nodes,
            client_qps=client_qps,
        )
