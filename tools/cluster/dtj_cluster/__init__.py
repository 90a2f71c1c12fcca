"""The local test cluster: real Kubernetes parts on one machine, without a Docker engine."""

from dtj_cluster.cluster import Cluster, ControlPlane
from dtj_cluster.errors import ClusterError

__all__ = ["Cluster", "ClusterError", "ControlPlane"]
