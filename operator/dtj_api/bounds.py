"""How much of anything is read: what is larger is refused with words, before memory or time is spent on it.

Everybody who may create a job or run a pod writes what the operator reads. So each thing that comes from outside has a
bound here, and its depth is counted on its bytes: Python's own parser goes as deep as its caller lets it, and no deeper
caller survives that. Standard library only (the launcher imports it inside foreign images).
"""

from __future__ import annotations

SPEC_BYTES = 128 * 1024
"""Longest `spec` of a job, as JSON without spaces."""
DEPTH = 64
"""Most levels of objects and lists within each other: in a spec, in a report, in any part of an object."""
REPORT_BYTES = 64 * 1024
"""Longest message between operator and launcher, either way."""
REPORT_FAILURES = 64
"""Most failures in a report."""
REPORT_PACES = 64
"""Most ranks of one pod, hence most paces in a report."""
REPORT_DAMAGED = 5
"""Most damaged checkpoints in a report."""
REPORT_TEXT = 4096
"""Most characters of one text in a report; of a longer one the beginning is read."""
DAMAGED_TEXT = 1024
"""Most characters of what is told of one damaged checkpoint."""
INT64 = 2**63 - 1
"""Largest whole number that the API server keeps as one."""
INT32 = 2**31 - 1
"""Largest number that an operating system has for an error, a signal or an exit."""
COUNT = 2**53 - 1
"""Largest count that is read of a report or a label: all who read JSON have whole numbers exact up to it, and hundreds
of them make a sum of 64 bits."""
LONGEST = 1e9
"""Seconds, some 30 years: nothing that is timed in a report takes longer."""
LATEST = 32_503_680_000.0
"""Seconds since the epoch at the end of the year 2999: a later moment is none."""
OTHER_SPEC_BYTES = 256 * 1024
"""Longest `spec` of another object: of a pod it is the job's template and what the API server adds."""
PART_BYTES = 2 * 1024 * 1024
"""Longest other part of an object that is read: more than the API server stores."""
PAGE_BYTES = 8 * 1024 * 1024
"""Longest page of several objects that is read at once. One that is longer is asked for again with half of them."""
OBJECT_BYTES = 20 * 1024 * 1024
"""Longest answer about one object, and more than there can be: the API server takes requests of 3 MiB, and a byte of
what it stores is up to six of its JSON, as `<` is."""
JOBS_A_PAGE = 20
OBJECTS_A_PAGE = 100
"""Pods, nodes and others."""
UNREAD = "dtj.dev/unread"
"""The one field of a part of an object that was not read, and why. No object of the API server has such a part."""


def too_long(what: str, size: int, most: int) -> str:
    """Words for what is longer than its bound."""
    return f"{what}: {size} bytes of JSON, more than the {most} that are read; make it shorter"


def too_deep(what: str, levels: int) -> str:
    """Words for what is nested deeper than it may be."""
    return f"{what}: {levels} levels of objects and lists within each other, more than the {DEPTH} that are read"
