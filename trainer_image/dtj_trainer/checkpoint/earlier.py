"""What an earlier version wrote into checkpoints, read as today's.

Until format 2 the best score had the name of the only one that there was.
"""

from __future__ import annotations

from typing import Any

FORMATS = (2,)


def brought_up(body: dict[str, Any]) -> dict[str, Any]:
    """The content of a file of one of `FORMATS`, as the present format has it."""
    early = dict(body["early"])
    early["best"] = early.pop("best_f1")
    return {**body, "early": early}
