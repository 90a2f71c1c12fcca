"""What a user's own training script imports to be seen and to be saved by dtj.

    import dtj

    for step in ...:
        ...
        dtj.report(step=step, loss=loss.item())
        if dtj.should_save():
            with dtj.checkpoint_dir(step) as path:
                ...

Without the dtj launcher the same script runs as it is: reports go nowhere. Standard library only, so that the import
costs nothing and works in any image; torch and xxhash are used where they are.
"""

from typing import TYPE_CHECKING, Any

from dtj.checkpoints import checkpoint_dir, save_in_background
from dtj.places import work_dir
from dtj.reporting import done, phase, report
from dtj.restoring import RestoreError, best_checkpoint, latest_checkpoint
from dtj.saving import SaveError, should_save, wait_for_save
from dtj.stages import stage

if TYPE_CHECKING:
    from dtj.callback import TrainerCallback

__all__ = [
    "RestoreError",
    "SaveError",
    "TrainerCallback",
    "best_checkpoint",
    "checkpoint_dir",
    "done",
    "latest_checkpoint",
    "phase",
    "report",
    "save_in_background",
    "should_save",
    "stage",
    "wait_for_save",
    "work_dir",
]


def __getattr__(name: str) -> Any:
    """Import transformers only when its callback is asked for."""
    if name == "TrainerCallback":
        from dtj.callback import TrainerCallback

        return TrainerCallback
    raise AttributeError(f"module 'dtj' has no attribute {name!r}")
