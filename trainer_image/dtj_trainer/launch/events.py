"""What the main thread of a launcher is told."""

from __future__ import annotations

from dataclasses import dataclass

from dtj_api.names import ExitCode, LauncherState
from dtj_api.wire import Meet, Release, Stop


@dataclass(frozen=True)
class Terminate:
    """SIGTERM has come."""


@dataclass(frozen=True)
class ZygoteLost:
    """No rank can be started any more."""


@dataclass(frozen=True)
class ChildEnded:
    """Some child has ended: an orphan, mostly."""


@dataclass(frozen=True)
class Outcome:
    """The agent of an incarnation has returned."""

    incarnation: int
    state: LauncherState | None
    """The state to report from now on; None: it was told to leave."""
    error: str = ""
    exit_code: ExitCode | None = None
    """Set when the launcher is to end with it."""


Event = Meet | Release | Stop | Terminate | ZygoteLost | ChildEnded | Outcome
