"""Reads a status that some operator stored: this one, or one of another version."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ValidationError

from .base import ManifestError, read
from .names import Phase
from .nulls import without_nulls
from .status import JobStatus

_HISTORIES = frozenset({"recoveries", "excludedNodes", "damaged"})
"""Lists whose oldest items may be left out: they tell, and count nothing."""


def read_status(raw: Any) -> JobStatus:
    """Read what is stored, also where an operator of a later version kept more of it than this one does.

    Texts and histories that are longer than this version's are cut. A phase that it does not know is read as Recovering
    while the job is in the middle of a stretch: that claims nothing, and is left on evidence. All that counts is
    read in full or not at all.

    Raises:
        ManifestError: it cannot be read. Nothing may be done about the job then: this is all that is remembered of it.
    """
    try:
        return read(JobStatus, raw, "status")
    except ManifestError:
        cut = _cut(raw)
        if cut is None:
            raise
        # What was too long in the items of a list comes before the length of the list itself.
        return read_status(cut)


def _cut(raw: Any) -> Any:
    """What is stored without that which is more than this version keeps; None: that is not what is wrong with it."""
    try:
        JobStatus.model_validate(without_nulls(raw, JobStatus), by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
    else:
        return None
    cut = copy.deepcopy(raw)
    for detail in details:
        *path, field = detail["loc"]
        parent = cut
        for part in path:
            parent = parent[part]
        most = int(detail.get("ctx", {}).get("max_length") or 0)
        if detail["type"] == "string_too_long":
            parent[field] = parent[field][:most]
        elif detail["type"] == "too_long" and field in _HISTORIES:
            parent[field] = parent[field][-most:]
        elif detail["loc"] == ("phase",) and detail["type"] == "enum" and raw.get("resumedAt"):
            if raw.get("completionTime"):
                return None
            parent[field] = Phase.RECOVERING.value
        else:
            return None
    return cut
