"""Children that no watch brings, because somebody took our label from them: they are asked for one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient
from dtj_operator.observe.reflector import Reflector

ADOPTED_SECONDS = 10.0
"""Seconds between two looks at such a child."""


class Adopted:
    """Looks after the adopted children of all jobs.

    Args:
        client: the API server.
        reflectors: all watches.
        now: seconds since the epoch.
    """

    def __init__(self, client: KubeClient, reflectors: Sequence[Reflector[Any]], now: Callable[[], float]) -> None:
        self._client = client
        self._reflectors = reflectors
        self._now = now
        self._looked: dict[str, float] = {}

    def look_again(self, owner: str) -> float | None:
        """Seconds after which to look at a job again because no watch tells of all its children; None: they do."""
        return ADOPTED_SECONDS if any(each.adopted(owner) for each in self._reflectors) else None

    async def refresh(self, owner: str) -> None:
        """Ask what became of a job's adopted children, if that was not asked just now."""
        if self.look_again(owner) is None:
            self._looked.pop(owner, None)
            return
        if self._now() - self._looked.setdefault(owner, self._now()) < ADOPTED_SECONDS:
            return
        self._looked[owner] = self._now()
        for each in self._reflectors:
            for key in each.adopted(owner):
                try:
                    each.adopt(await self._client.get(each.resource, *key))
                except errors.NotFound:
                    each.disown(key)

    def forget(self, owner: str) -> None:
        """A job is gone."""
        self._looked.pop(owner, None)
