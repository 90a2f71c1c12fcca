"""Checkpoints that were found damaged: the job went on from the one before, and somebody should know why."""

from __future__ import annotations

from dtj_api.names import Condition, Reason
from dtj_operator.plan.count.checkpoint_failing import publisher
from dtj_operator.plan.draft import Draft

KEPT = 5


def note_damaged(draft: Draft) -> None:
    """Tell of each damaged checkpoint once, and that all is well again when a later one has been published."""
    known = draft.status.checkpoint.damaged
    # Rank 0 finds them. Those of pods that had it before would come round again when more than are kept were told.
    leader = publisher(draft)
    new = [text for text in leader.damaged if text not in known] if leader is not None else []
    if new:
        kept = (*known, *new)[-KEPT:]
        draft.set(checkpoint=draft.status.checkpoint.model_copy(update={"damaged": kept}))
        for text in new:
            draft.tell("Warning", Reason.CHECKPOINT_DAMAGED, f"a checkpoint is damaged and was passed over: {text}")
        draft.condition(Condition.CHECKPOINT_DAMAGED, True, Reason.CHECKPOINT_DAMAGED, new[-1])
        return
    found, last = draft.status.condition(Condition.CHECKPOINT_DAMAGED), draft.status.checkpoint
    mended = found is not None and found.status == "True" and (last.last_time or 0.0) > found.last_transition_time
    if mended:
        text = f"the checkpoint of step {last.last_step} was published after it"
        draft.condition(Condition.CHECKPOINT_DAMAGED, False, Reason.CHECKPOINT_WHOLE, text)
