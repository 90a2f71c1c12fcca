"""Chaos runs on the real cluster, with the jobs of the end-to-end tests."""

from e2e_jobs import jobs, place

__all__ = ["jobs", "place"]
