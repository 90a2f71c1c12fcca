"""What an API server dropped of a status that it stored: fields which its CRD, older than the operator, does not know.

Written again they would be dropped again, and each write wakes the job: so what was dropped is told once, remembered,
and not compared any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from dtj_api import names

logger = logging.getLogger(__name__)


def dropped(sent: Any, stored: Any, where: str = "status") -> Iterator[str]:
    """Paths of the fields that were sent and are not there, as `status.store.uid`."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        for name, value in sent.items():
            if name in stored:
                yield from dropped(value, stored[name], f"{where}.{name}")
            else:
                yield f"{where}.{name}"
    elif isinstance(sent, list) and isinstance(stored, list):
        for mine, theirs in zip(sent, stored, strict=False):
            yield from dropped(mine, theirs, where)


def agrees(sent: Any, stored: Any) -> bool:
    """Whether what is there is what was sent, but for what was dropped."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        return all(agrees(value, stored[name]) for name, value in sent.items() if name in stored)
    if isinstance(sent, list) and isinstance(stored, list):
        return len(sent) == len(stored) and all(map(agrees, sent, stored))
    return bool(sent == stored)


class Told:
    """Says each field once in the life of a process."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def say(self, fields: set[str]) -> None:
        """These were dropped."""
        if new := sorted(fields - self._told):
            self._told.update(new)
            logger.warning(
                "the API server drops %s: its CRD %s.%s is older than this operator, which forgets that at its end; "
                "apply the CRD of this version (`kubectl apply --server-side -f crds/`)",
                ", ".join(new),
                names.PLURAL,
                names.GROUP,
            )
