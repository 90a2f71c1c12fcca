"""Which of a job's children beside its pods are there."""

from __future__ import annotations

from collections.abc import Iterable

from dtj_api import names
from dtj_operator.observe.records import Presence
from dtj_operator.observe.view import Children


def children_of(
    job: str, services: Iterable[Presence], policies: Iterable[Presence], *, key: bool, claim: bool
) -> Children:
    """The children of the job of this name, from those services and policies that have it as their controller."""
    service = _called(names.service_name(job), services)
    policy = _called(names.policy_name(job), policies)
    return Children(
        service=service is not None,
        service_uid=service.uid if service is not None else "",
        service_digest=service.digest if service is not None else "",
        service_held_by=service.held_by if service is not None else "",
        policy=policy is not None,
        policy_uid=policy.uid if policy is not None else "",
        policy_digest=policy.digest if policy is not None else "",
        policy_held_by=policy.held_by if policy is not None else "",
        key=key,
        claim=claim,
    )


def _called(name: str, found: Iterable[Presence]) -> Presence | None:
    """The child of this name: whoever copies one copies its labels and its owner too."""
    return next((each for each in found if each.name == name), None)
