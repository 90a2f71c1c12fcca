"""Ends after which no restart helps: exit codes that say so, and the volume where `checkpoint.onFailure` is Fail."""

from __future__ import annotations

from dtj_api.names import ExitCode, Reason
from dtj_api.verdict import cannot_run, volume_failed
from dtj_api.wire import Failure
from dtj_operator.observe.ends import End
from dtj_operator.plan.draft import Draft

from .volume_errors import not_shared


def note_end_of_pod(draft: Draft, end: End, pod: str) -> None:
    """Recognise it in how a pod ended."""
    if not end.ran:
        # What a user's own init container means by its codes is its own affair.
        return
    if end.exit_code == ExitCode.BAD_CONFIG:
        text = f"pod {pod} cannot run what it was given: {end.message}"
        draft.give_up(Reason.USER_ERROR, text, plainly=True)
    elif end.exit_code == ExitCode.VOLUME_NOT_SHARED:
        text = f"{not_shared(pod)}: {end.message}"
        draft.give_up(Reason.VOLUME_NOT_SHARED, text, plainly=True)


def note_end_of_ranks(draft: Draft, first: Failure, message: str) -> None:
    """Recognise it in the failure that ended a round."""
    if (why := volume_failed(draft.spec, first, message)) is not None:
        draft.give_up(*why)
    if (why := cannot_run(draft.spec, first, message)) is not None:
        draft.give_up(*why, plainly=True)
