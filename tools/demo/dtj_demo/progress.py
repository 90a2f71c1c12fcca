"""A job's status as one line, and whether anything has changed. Pure: time comes in as data."""

from __future__ import annotations

from dtj_api.names import Condition, Phase
from dtj_api.status import JobStatus

# Where to look for the reason of a job that has no step yet, the most telling first.
_TELLING = (
    (Condition.FAILED, "True"),
    (Condition.ADMITTED, "False"),
    (Condition.VOLUME_NOT_SHARED, "True"),
    (Condition.DEGRADED, "True"),
    (Condition.PROGRESSING, "True"),
    (Condition.PROGRESSING, "False"),
    (Condition.READY, "False"),
)


def line(status: JobStatus, now: float) -> str:
    """What a person wants to see: step, loss, speed and expected end; before the first step, what the job waits for."""
    progress = status.progress
    if progress.step is None:
        return f"{status.phase.value}: {why(status)}"
    parts = [f"step {progress.step:,}" + (f" of {progress.total_steps:,}" if progress.total_steps else "")]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if status.phase is Phase.RUNNING and progress.eta is not None:
        parts.append(f"done in {span(progress.eta - now)}")
    if status.phase is not Phase.RUNNING:
        parts.insert(0, status.phase.value)
    restarts = status.restarts.counted + status.restarts.excused
    if restarts:
        parts.append(f"{restarts} restart{'s' * (restarts > 1)}")
    return ", ".join(parts)


def why(status: JobStatus) -> str:
    """The condition that says the most about where the job is."""
    for kind, value in _TELLING:
        found = status.condition(kind)
        if found is not None and found.status == value:
            # A message may have the lines of a traceback; the last one says what it was.
            message = found.message.strip().splitlines()[-1:]
            return ": ".join([found.reason, *message])
    return "nothing reported yet"


def fingerprint(status: JobStatus) -> tuple[object, ...]:
    """Equal for two statuses between which nothing has happened."""
    progress, restarts = status.progress, status.restarts
    conditions = tuple((each.type, each.status, each.reason) for each in status.conditions)
    return (
        status.phase,
        status.incarnation,
        status.workers,
        progress.step,
        restarts.counted,
        restarts.excused,
        conditions,
    )


def span(seconds: float) -> str:
    """Seconds to come, as people say them."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
