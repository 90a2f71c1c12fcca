"""What went wrong with a save, told to the launcher: it becomes a condition of the job, whatever the training does."""

from __future__ import annotations

from dtj.link import link

_MOST = 512
"""Characters of a text: the operator reads no more."""


def save_failed(step: int, error: OSError) -> None:
    """Say that the checkpoint of a step was not published. Never blocks, and never raises.

    Call it on every rank, once for each save, with whatever the rank knows: the errno decides what the condition says,
    so an error that was raised in place of another one should carry that one's.

    Args:
        step: that was to be saved.
        error: why it was not.
    """
    cause = error
    while not cause.errno and isinstance(cause.__cause__, OSError):
        cause = cause.__cause__
    link.send({"type": "save_failed", "step": step, "errno": cause.errno or 0, "why": str(error)[:_MOST]})
