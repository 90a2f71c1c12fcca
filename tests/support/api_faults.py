"""Calls of an API server, and what goes wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from dtj_operator.kube.resources import Resource


class Crash(BaseException):
    """The operator process dies here. Not an Exception: nobody may handle it."""


@dataclass(frozen=True)
class Call:
    """One call, as the log keeps it."""

    verb: str
    resource: Resource
    namespace: str
    name: str
    dry_run: bool = False

    @property
    def is_write(self) -> bool:
        """Whether it may store something."""
        return self.verb in ("create", "replace", "delete") and not self.dry_run


@dataclass
class Fault:
    """What goes wrong with one call. `landed`: the call takes effect before the error is raised."""

    error: BaseException
    landed: bool = False


FaultOf = Callable[[Call], Fault | None]


class FaultyCall:
    """Logs one call and makes its fault happen, before or after it took effect."""

    def __init__(self, call: Call, calls: list[Call], fault_of: FaultOf) -> None:
        self._call = call
        self._calls = calls
        self._fault_of = fault_of
        self._fault: Fault | None = None

    async def __aenter__(self) -> None:
        self._calls.append(self._call)
        self._fault = self._fault_of(self._call)
        await asyncio.sleep(0)
        if self._fault and not self._fault.landed:
            raise self._fault.error

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await asyncio.sleep(0)
            if self._fault and self._fault.landed:
                raise self._fault.error
