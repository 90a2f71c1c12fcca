"""What `cluster status` tells: which parts run, and what the nodes say."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from dtj_cluster import clean
from dtj_cluster.processes import ProcessTable
from dtj_cluster.state import Paths


@dataclass(frozen=True)
class Status:
    """The state of one cluster at one moment. ``phase``: Absent, Up, or Broken (a run that ended hard; `up` clears
    it).
    """

    name: str
    phase: str
    kubeconfig: str
    network: int | None
    ports: dict[str, int]
    processes: dict[str, int]

    @classmethod
    def of(cls, paths: Paths) -> Status:
        """Look at the cluster in ``paths``."""
        name = paths.root.name.removeprefix("cluster-")
        state = paths.load()
        processes = {process: identity.pid for process, identity in ProcessTable(paths.root).alive().items()}
        if state is None:
            return cls(name, "Absent", str(paths.kubeconfig), None, {}, processes)
        phase = "Up" if clean.intact(paths, state) else "Broken"
        return cls(name, phase, str(paths.kubeconfig), state.network, state.ports, processes)

    def as_json(self) -> dict[str, object]:
        """All fields by name."""
        return asdict(self)

    def as_text(self) -> str:
        """A few lines for people."""
        lines = [f"cluster {self.name}: {self.phase}"]
        if self.phase != "Absent":
            lines.append(f"kubeconfig: {self.kubeconfig}")
            lines += [f"  {process:<24} pid {pid}" for process, pid in self.processes.items()]
        return "\n".join(lines)
