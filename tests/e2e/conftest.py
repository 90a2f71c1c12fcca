"""The cluster of the end-to-end tests with the operator installed from the chart, both images built and loaded."""

from e2e_jobs import jobs, place

__all__ = ["jobs", "place"]
