"""A stored spec or status that the models refuse: it is said, and nothing is touched. What runs, runs on."""

from __future__ import annotations

from dtj_api.names import Condition, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import ConditionStatus, JobCondition
from dtj_operator.observe.view import JobView

from .actions import Event
from .holder import RENEW, renewal_at
from .value import Plan


def say_unreadable(view: JobView) -> Plan:
    """Admitted=False with the errors, one a line; of what nobody looks at until they are mended nothing is claimed."""
    message = view.spec_error[:4096]
    if view.status.done:
        return Plan(view.status)
    said = {Condition.ADMITTED: _condition(view, Condition.ADMITTED, "False", message)}
    for kind in (Condition.PROGRESSING, Condition.READY):
        if view.status.condition(kind) is not None:
            text = "nobody looks after the job until its spec can be read; what runs, runs on"
            said[kind] = _condition(view, kind, "Unknown", text)
    told = all(view.status.condition(kind) == each for kind, each in said.items())
    renewal = renewal_at(view)
    if told and (renewal is None or view.now < renewal):
        return Plan(view.status, requeue_after=None if renewal is None else round(max(0.05, renewal - view.now), 3))
    others = tuple(each for each in view.status.conditions if each.type not in said)
    changes = {
        "conditions": tuple(sorted((*others, *said.values()), key=lambda each: each.type)),
        "observed_generation": view.generation,
        "operator": view.operator.release,
        "updated_at": Timestamp(view.now),
    }
    status = view.status.model_copy(update=changes)
    events = () if told else (Event("Warning", Reason.INVALID_SPEC.value, message),)
    return Plan(status, write=True, urgent=True, events=events, requeue_after=RENEW)


def _condition(view: JobView, kind: Condition, status: ConditionStatus, message: str) -> JobCondition:
    old = view.status.condition(kind)
    kept = old.last_transition_time if old is not None and old.status == status else None
    return JobCondition(
        type=kind,
        status=status,
        reason=Reason.INVALID_SPEC,
        message=message,
        observed_generation=view.generation,
        last_transition_time=Timestamp(view.now) if kept is None else kept,
    )


def say_no_status(view: JobView) -> Plan:
    """Hands off, as an event alone: a status that is written would be one that has forgotten everything."""
    text = (
        "the stored status cannot be read, as where a later version of the operator wrote it, and nothing is done "
        f"about the job until this operator is upgraded: {view.status_error}"
    )
    return Plan(view.status, events=(Event("Warning", Reason.STATUS_UNREADABLE.value, text),))
