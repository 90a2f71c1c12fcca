"""What one incarnation hands to the next on a pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtj_api.wire import Failure
from dtj_trainer.launch.backoff import Backoff
from dtj_trainer.launch.board import Board
from dtj_trainer.launch.command import Command
from dtj_trainer.launch.logs import Logs
from dtj_trainer.launch.probe import VolumeProbe
from dtj_trainer.launch.ranks import Zygote
from dtj_trainer.launch.volume import VolumeCheck


@dataclass(frozen=True)
class Tools:
    """What outlives an incarnation."""

    command: Command
    zygote: Zygote
    logs: Logs
    board: Board
    backoff: Backoff
    scratch: Path
    """A private folder on this machine: the ranks' socket and their error files."""
    check: VolumeCheck | None
    probe: VolumeProbe | None
    on_failure: Callable[[Failure, str], None]
    """Told the first failure of a round, with its traceback."""
    on_trained: Callable[[], None]
    """Told once a round that it trains: what was before it explains no end that comes now."""
