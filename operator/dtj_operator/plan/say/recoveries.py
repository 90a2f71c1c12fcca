"""The recovery clock: each interruption of the training, from the loss to the next step, and where its seconds went.

It begins with what is counted and ends when steps are made again. The times are those of whoever was there: a pod's
container, a launcher, the operator. Their clocks differ a little, so each phase ends no earlier than the one before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from dtj_api import bounds
from dtj_api.names import RECOVERY_BUCKETS, Cause, Phase, Reason, RecoveryPhase
from dtj_api.status import Interruption, Recovery, RecoveryTotals
from dtj_api.wire import Clock
from dtj_operator.plan.count.crash_loop import note_failed_after
from dtj_operator.plan.count.interruption import CLOCK_ERROR
from dtj_operator.plan.draft import Draft

KEPT = 10


def note_recovered(draft: Draft) -> None:
    """Close the clock once the job trains again."""
    began = draft.status.interruption
    if began is None or draft.status.phase != Phase.RUNNING:
        return
    clocks = [report.clock for report in draft.roster.reports.values()]
    if began.pod_failed:
        # Nobody's word but that of those who were there: the status is seconds old.
        note_failed_after(draft, _told(clocks), began.at)
    recovery = _recovery(began, clocks, draft.now)
    draft.set(
        interruption=None,
        recoveries=(*draft.status.recoveries, recovery)[-KEPT:],
        recovered=_added(draft.status.recovered, recovery),
    )
    draft.tell("Normal", Reason.RECOVERED, in_words(recovery))


def in_words(recovery: Recovery) -> str:
    """One recovery as a sentence."""
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in recovery.phases.items())
    where = f" on node {recovery.node}" if recovery.node else ""
    redone = "" if recovery.steps_redone is None else f"; {recovery.steps_redone} steps redone"
    return f"trains again {recovery.seconds:.2f} s after {recovery.cause}{where} ({parts}){redone}"


def _recovery(began: Interruption, clocks: list[Clock], now: float) -> Recovery:
    began = _as_it_was(began, clocks)
    phases: dict[str, float] = {}
    until = float(began.at)
    for phase, end in _ends(began, clocks, now):
        if end is None or abs(end - now) > CLOCK_ERROR + (now - began.at):
            continue
        phases[phase.value] = round(max(0.0, end - until), 3)
        until = max(until, end)
    return Recovery(
        at=began.at,
        cause=began.cause,
        node=began.node,
        phases=phases,
        seconds=round(sum(phases.values()), 3),
        steps_redone=_redone(began, clocks),
    )


def _as_it_was(began: Interruption, clocks: list[Clock]) -> Interruption:
    """A lost store stops nobody: ranks that left no earlier than they were told to meet anew trained until then."""
    left = [clock.left_at for clock in clocks]
    moved = began.met_at is not None and all(at is not None and at >= began.met_at for at in left)
    if began.cause != Cause.STORE_LOST or not moved:
        return began
    return began.model_copy(update={"at": began.met_at, "detected_at": began.met_at})


def _ends(began: Interruption, clocks: list[Clock], now: float) -> list[tuple[RecoveryPhase, float | None]]:
    left = [clock.left_at for clock in clocks if clock.left_at is not None and clock.left_at >= began.at]
    in_place = began.met_at is None
    formed = _last(clock.formed_at for clock in clocks)
    started = _last(clock.spoke_at or clock.started_at for clock in clocks)
    return [
        (RecoveryPhase.DETECT, max(left, default=None) if in_place else began.detected_at),
        (RecoveryPhase.POD, began.met_at),
        (RecoveryPhase.RENDEZVOUS, now if formed is None else formed),
        (RecoveryPhase.START, started),
        (RecoveryPhase.RESTORE, _last(clock.restored_at for clock in clocks)),
        # One rank's step is everybody's: they make it together.
        (RecoveryPhase.FIRST_STEP, min((c.first_step_at for c in clocks if c.first_step_at is not None), default=None)),
    ]


def _last(times: Iterable[float | None]) -> float | None:
    return max((each for each in times if each is not None), default=None)


def _made(began: Interruption, clocks: list[Clock]) -> int | None:
    """The last step before the loss."""
    # Those who were there know better than the status, which is written every few seconds.
    told = _told(clocks)
    return began.step if told is None else told


def _told(clocks: list[Clock]) -> int | None:
    return max((clock.step_before for clock in clocks if clock.step_before is not None), default=None)


def _redone(began: Interruption, clocks: list[Clock]) -> int | None:
    restored = [clock.restored_step for clock in clocks if clock.restored_step is not None]
    made = _made(began, clocks)
    if made is None or not restored:
        return None
    return max(0, made - min(restored))


def _added(totals: RecoveryTotals, recovery: Recovery) -> RecoveryTotals:
    counts = list(totals.buckets or (0,) * (len(RECOVERY_BUCKETS) + 1))
    counts[bisect_left(RECOVERY_BUCKETS, recovery.seconds)] += 1
    phases = dict(totals.phases)
    for name, seconds in recovery.phases.items():
        phases[name] = round(phases.get(name, 0.0) + seconds, 3)
    return RecoveryTotals(
        count=totals.count + 1,
        seconds=round(totals.seconds + recovery.seconds, 3),
        steps_redone=min(bounds.INT64, totals.steps_redone + (recovery.steps_redone or 0)),
        phases=phases,
        buckets=tuple(counts),
    )
