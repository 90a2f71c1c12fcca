"""What one incarnation hands to the next on a pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtj_api.wire import Failure
from dtj_trainer.launch.meeting.backoff import Backoff
from dtj_trainer.launch.progress.board import Board
from dtj_trainer.launch.ranks.command import Command
from dtj_trainer.launch.ranks.logs import Logs
from dtj_trainer.launch.ranks.ranks import Zygote
from dtj_trainer.launch.volume.probe import VolumeProbe
from dtj_trainer.launch.volume.shared import VolumeCheck


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
    restarts: bool
    """False: the ranks of a later round start only upon the operator's word."""
    on_failure: Callable[[Failure, str], None]
    """Told the first failure of a round, with its traceback."""
    on_trained: Callable[[], None]
    """Told once a round that it trains: what was before it explains no end that comes now."""

    def error_file(self, local_rank: int) -> Path:
        """Where a rank records its error."""
        return self.scratch / f"error-{local_rank}.json"

    def stack_file(self, local_rank: int) -> Path:
        """Where a rank writes its stacks when it is asked to."""
        return self.scratch / f"stack-{local_rank}.txt"
