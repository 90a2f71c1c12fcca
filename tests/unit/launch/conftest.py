"""Real launchers as processes, forked from one that has imported torch: a launcher is up in a tenth of a second."""

from launcher_jobs import nursery, start

__all__ = ["nursery", "start"]
