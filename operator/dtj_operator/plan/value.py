"""A plan as a value: what the status should say, what to do then, what to tell, and when to look again."""

from __future__ import annotations

from dataclasses import dataclass

from dtj_api.status import JobStatus

from .actions import Action, Event


@dataclass(frozen=True)
class Plan:
    """The order is the contract: write the status; only if that succeeded, act; only then tell.

    A plan counts an end and destroys its evidence at once, which is safe in this order alone: when the write is refused
    (409) nothing is done, and the next view counts again from what is stored.
    """

    status: JobStatus
    """The whole new status."""
    write: bool = False
    """It differs from the stored one in something that is due."""
    urgent: bool = False
    """More than progress and figures differ: the write must not wait for a share of the progress writes."""
    actions: tuple[Action, ...] = ()
    """In order: what is deleted, then what is created, then what is sent."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds after which the same view, grown older, gives another plan; None: only a change does."""

    def __str__(self) -> str:
        """A readable list."""
        written = f"{'write' if self.write else 'keep'} status: phase {self.status.phase.value}"
        lines = [f"{written}, incarnation {self.status.incarnation}"]
        lines += [str(action) for action in self.actions]
        lines += [f"event {event}" for event in self.events]
        if self.requeue_after is not None:
            lines.append(f"look again in {self.requeue_after:g} s")
        return "\n".join(lines)
