"""What `cluster status` tells: which parts run, and what the API server says of the nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from dtj_cluster import clean
from dtj_cluster.cluster import Cluster
from dtj_cluster.processes import ProcessTable


@dataclass(frozen=True)
class Status:
    """One cluster at one moment.

    ``phase`` is Absent, Up, or Broken (a run that ended hard; the next `up` clears it). ``nodes`` maps each node to
    what its Ready condition says: True, False or Unknown. ``processes`` maps what runs to its pid.
    """

    name: str
    phase: str
    kubeconfig: str
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster) -> Status:
        """Look at ``cluster``."""
        state, kubeconfig = cluster.paths.load(), str(cluster.kubeconfig)
        if state is None:
            return cls(cluster.name, "Absent", kubeconfig)
        processes = {name: identity.pid for name, identity in ProcessTable(cluster.paths.root).alive().items()}
        if not clean.intact(cluster.paths, state):
            return cls(cluster.name, "Broken", kubeconfig, state.ports, processes)
        return cls(cluster.name, "Up", kubeconfig, state.ports, processes, _nodes(cluster))

    def as_json(self) -> dict[str, object]:
        """All fields by name."""
        return asdict(self)

    def as_text(self) -> str:
        """A few lines for people; fake nodes are counted, not listed."""
        lines = [f"cluster {self.name}: {self.phase}"]
        if self.phase == "Absent":
            return lines[0]
        lines.append(f"kubeconfig: {self.kubeconfig}")
        real = {name: ready for name, ready in self.nodes.items() if not name.startswith("fake-")}
        lines += [f"  {name:<24} Ready={ready}" for name, ready in real.items()]
        fake = Counter(ready for name, ready in self.nodes.items() if name not in real)
        lines += [f"  {count} fake nodes{'':<11} Ready={ready}" for ready, count in fake.items()]
        lines += [f"  {process:<24} pid {pid}" for process, pid in self.processes.items()]
        return "\n".join(lines)


def _nodes(cluster: Cluster) -> dict[str, str]:
    nodes = (cluster.api().get("/api/v1/nodes?resourceVersion=0") or {}).get("items", [])
    return {node["metadata"]["name"]: _ready(node["status"].get("conditions", [])) for node in nodes}


def _ready(conditions: list[dict[str, str]]) -> str:
    return next((one["status"] for one in conditions if one["type"] == "Ready"), "Unknown")
