"""The chart, read once a file."""

from charts import chart

__all__ = ["chart"]
