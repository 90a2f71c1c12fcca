"""Whom the job waits for, a worker or the store, and what keeps it from coming in the words of whoever knows."""

from __future__ import annotations

from collections.abc import Sequence

from dtj_api import names
from dtj_api.names import Reason
from dtj_api.scalars import Timestamp
from dtj_operator.observe.worker import IMAGE, State, Worker, held_up

from .draft import Draft

_FIRST = (Reason.IMAGE_PULL, Reason.UNSCHEDULABLE, Reason.CANNOT_START, Reason.HELD_BY_FINALIZER)
"""What is told before all else: it does not mend itself."""


def waits_for_workers(draft: Draft) -> tuple[Reason, str] | None:
    """The worker that keeps the job waiting: the one that will not come by itself before one that only takes time."""
    # A spare that is not there yet keeps nobody waiting.
    needed = draft.roster.wanted if draft.roster.missing else draft.status.members
    awaited = [index for index in needed if not draft.roster.is_through(index)]
    rows = [row for index in awaited if not (row := draft.roster.worker(index)).answers]
    for reason in _FIRST:
        for row in rows:
            if row.reason is reason:
                return reason, row.why
    if (silent := silent_launchers(draft, rows, len(needed))) is not None:
        return silent
    absent = [row for row in rows if row.state is State.ABSENT]
    if absent:
        text = f"{len(absent)} of {len(needed)} worker pods are to be made"
        return Reason.WAITING_FOR_PODS, text + _held_back(draft, awaited)
    if rows:
        return rows[0].reason, f"{len(rows)} of {len(needed)} workers are not there yet: {rows[0].why}"
    return None


def _held_back(draft: Draft, awaited: Sequence[int]) -> str:
    """Until when those wait that are to be made, where they all do."""
    made = [draft.made_after(index) for index in awaited if draft.roster.worker(index).state is State.ABSENT]
    first = min((until or Timestamp(0.0) for until in made), default=Timestamp(0.0))
    return f", not before {first}" if first > draft.now else ""


def silent_launchers(draft: Draft, rows: Sequence[Worker], of: int) -> tuple[Reason, str] | None:
    """What is said of workers that run as far as anybody knows, and answer nothing; None: there is none of them."""
    for row in rows if draft.seen.node_losses else ():
        if row.pod is not None and (node := draft.seen.node_of(row.pod)).doubted:
            return node.reason, node.why
    deaf = [row for row in rows if row.deaf]
    return (Reason.UNREACHABLE, _no_answer(deaf, of)) if deaf else None


def _no_answer(deaf: Sequence[Worker], of: int) -> str:
    silent = [row.since for row in deaf if row.since is not None]
    if not silent:
        return deaf[0].why
    return (
        f"no answer from {len(deaf)} of {of} launchers on port {names.METRICS_PORT} since {Timestamp(min(silent))}; "
        f"see network policies, and whether the operator reaches pods at all: {deaf[0].why}"
    )


def waits_for_store(draft: Draft) -> tuple[Reason, str] | None:
    """What keeps the store from standing, and how the one before it ended."""
    store = draft.roster.store
    if draft.roster.store_stands:
        return None
    if (held := draft.seen.held.get(names.store_name(draft.view.name))) is not None:
        return Reason.HELD_BY_FINALIZER, held_up(held)
    if store is not None and store.unschedulable:
        return Reason.UNSCHEDULABLE, f"pod {store.name}: {store.unschedulable}"
    if store is not None and store.waiting_reason:
        reason = Reason.IMAGE_PULL if store.waiting_reason in IMAGE else Reason.CANNOT_START
        return reason, f"pod {store.name}: {store.waiting_reason}: {store.waiting_message}"
    text = f"pod {names.store_name(draft.view.name)} is not ready yet"
    if store is not None and store.deletion_at is not None:
        text = f"pod {store.name} is leaving, and another one is made when it has gone"
    before, until = draft.status.store.error, draft.status.store.create_after
    if before:
        text += f"; the one before it ended: {before}"
    if store is None and until is not None and until > draft.now:
        text += f"; the next one is made at {until}"
    return Reason.WAITING_FOR_STORE, text
