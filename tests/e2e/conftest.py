"""The cluster of the end-to-end tests, with the operator installed from the chart and both images built and loaded, or
with pods that need nothing of ours.
"""

from cluster_pods import namespace, peers, thin
from e2e_jobs import jobs, place

__all__ = ["jobs", "namespace", "peers", "place", "thin"]
