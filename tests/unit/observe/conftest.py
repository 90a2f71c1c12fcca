"""A launcher that answers, the reports that are asked there, and reflectors that begin anew at once."""

from fake_launcher import launcher, reports, victim
from watched import quick_backoff

__all__ = ["launcher", "quick_backoff", "reports", "victim"]
