"""A stored spec that the models refuse: it is said, and nothing is touched. What runs, runs on."""

from __future__ import annotations

from dtj_api.names import Condition, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import JobCondition
from dtj_operator.observe.view import JobView

from .actions import Event
from .value import Plan


def say_unreadable(view: JobView) -> Plan:
    """Admitted=False with the errors, one a line."""
    message = view.spec_error[:4096]
    old = view.status.condition(Condition.ADMITTED)
    same = old is not None and (old.status, old.message, old.observed_generation) == ("False", message, view.generation)
    if same or view.status.done:
        return Plan(view.status)
    moved = old is None or old.status != "False"
    condition = JobCondition(
        type=Condition.ADMITTED,
        status="False",
        reason=Reason.INVALID_SPEC,
        message=message,
        observed_generation=view.generation,
        last_transition_time=Timestamp(view.now) if moved or old is None else old.last_transition_time,
    )
    others = tuple(each for each in view.status.conditions if each.type != Condition.ADMITTED)
    conditions = tuple(sorted((*others, condition), key=lambda each: each.type))
    changes = {"conditions": conditions, "observed_generation": view.generation, "updated_at": Timestamp(view.now)}
    status = view.status.model_copy(update=changes)
    event = Event("Warning", Reason.INVALID_SPEC.value, message)
    return Plan(status, write=True, urgent=True, events=(event,))
