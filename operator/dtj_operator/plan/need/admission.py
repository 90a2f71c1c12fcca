"""Admitted: the API server is asked once for each template whether it takes the pods, before any is made.

What the CRD's rules cannot see (a misspelt field, an image pull policy that does not exist, a namespace's pod security)
would otherwise show as one error a pod and a retry, for ever.
"""

from __future__ import annotations

import hashlib
import json

from dtj_api import names
from dtj_api.names import Phase, Reason
from dtj_api.peer import NO_ADDRESS, NO_NAMESPACE, namespace_of
from dtj_api.shape import misshapen
from dtj_api.spec import JobSpec
from dtj_operator.plan.actions import DryRunWorker
from dtj_operator.plan.draft import Draft
from dtj_operator.plan.standstill import stand_still

from .parallel import misfit

RETRY = 60.0
"""Seconds after which a refusal is tried again: a quota or a policy may have changed."""
PATIENCE = 10.0
"""Seconds after which an answer that did not come is asked for again."""
SOON = 2.0
"""Seconds from a job's creation within which the answer is awaited before anything is written about it."""


def template_hash(spec: JobSpec) -> str:
    """Digest of what the pods are made from; the operator's version has no part in it, so an upgrade costs no pod."""
    trainer = spec.trainer.model_dump(mode="json", by_alias=True) if spec.trainer is not None else None
    made_from: list[object] = [spec.workers.template, trainer]
    # Left out where nothing is said, so that the digest is that of versions which had no such fields.
    made_from += [each.dump() for each in (spec.rendezvous.resources, spec.launcher.resources) if each is not None]
    text = json.dumps(made_from, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def admit(draft: Draft) -> bool:
    """Whether pods may be made."""
    wanted, current = template_hash(draft.spec), draft.status.template_hash
    if current:
        _note_change(draft, wanted != current)
        _note_size(draft)
        return True
    if (wrong := misfit(draft.spec) or misshapen(draft.spec.workers.template) or unwelcome(draft)) is not None:
        refuse(draft, Reason.INVALID_SPEC, wrong)
        return False
    answer = draft.view.dry_run
    known = answer is not None and answer.template_hash == wanted
    if answer is None or not known or (answer.refused and draft.now >= answer.at + RETRY):
        draft.act(DryRunWorker(wanted))
        draft.wake(draft.now + PATIENCE)
        if draft.status.condition(names.Condition.ADMITTED) is None:
            draft.quiet = draft.view.status.start_time is None and draft.now < draft.view.created + SOON
            draft.set(phase=Phase.PENDING)
            text = "the API server is asked whether it takes the worker pods"
            draft.condition(names.Condition.PROGRESSING, True, Reason.CREATING, text)
            draft.condition(names.Condition.READY, False, Reason.CREATING, text)
        return False
    if answer.refused:
        draft.wake(answer.at + RETRY)
        refuse(draft, Reason.DRY_RUN_REFUSED, f"the API server refuses the pods: {answer.refused}")
        return False
    draft.set(template_hash=wanted)
    _note_change(draft, False)
    _admitted(draft)
    return True


def unwelcome(draft: Draft) -> str | None:
    """Why somebody in `metrics.from` may not scrape the workers, or None."""
    known = draft.view.operator.metrics_from
    for number, peer in enumerate(draft.spec.metrics.from_):
        field, namespace = f"spec.metrics.from[{number}]", namespace_of(peer, draft.view.namespace)
        if namespace is None:
            return f"{field}: {NO_ADDRESS if peer.get('ipBlock') is not None else NO_NAMESPACE}"
        if namespace not in known:
            return (
                f"{field}: this installation lets no job open itself to namespace {namespace} (only to "
                f"{', '.join(known) or 'none'}); leave it out, or have it added to the chart's jobs.metricsFrom"
            )
    return None


def _admitted(draft: Draft) -> None:
    if not draft.status.is_true(names.Condition.ADMITTED):
        draft.tell("Normal", Reason.ADMITTED, "the API server takes the worker pods")
    draft.condition(names.Condition.ADMITTED, True, Reason.ADMITTED, "the API server takes the worker pods")


def refuse(draft: Draft, reason: Reason, message: str) -> None:
    """Say that the job cannot run as it is written."""
    _not_admitted(draft, reason, message)
    stand_still(draft, reason, message)


def _not_admitted(draft: Draft, reason: Reason, message: str) -> None:
    if not _says(draft, reason, message):
        draft.tell("Warning", reason, message)
    draft.condition(names.Condition.ADMITTED, False, reason, message)


def _says(draft: Draft, reason: Reason, message: str) -> bool:
    old = draft.status.condition(names.Condition.ADMITTED)
    return old is not None and old.reason == reason and old.message == message[:4096]


def _note_size(draft: Draft) -> None:
    """What runs, runs on: an edit that cannot be followed is only said."""
    wrong = misfit(draft.view.spec or draft.spec)
    old = draft.status.condition(names.Condition.ADMITTED)
    if wrong is not None and draft.spec is not draft.view.spec:
        _not_admitted(draft, Reason.INVALID_SPEC, f"{wrong}; until then it goes on with {draft.roster.size} workers")
    elif wrong is None and (peer := unwelcome(draft)) is not None:
        _not_admitted(draft, Reason.INVALID_SPEC, f"{peer}; the job goes on, and its NetworkPolicy is made without it")
    elif wrong is None and old is not None and old.reason == Reason.INVALID_SPEC:
        _admitted(draft)


def _note_change(draft: Draft, changed: bool) -> None:
    if changed:
        draft.condition(
            names.Condition.TEMPLATE_CHANGED,
            True,
            Reason.TEMPLATE_CHANGED,
            "the template was changed while pods run: they keep the old one, pods made from now on get the new one; "
            "suspend and resume the job to use it everywhere",
        )
    else:
        text = "all pods are made from the template"
        draft.clear(names.Condition.TEMPLATE_CHANGED, Reason.TEMPLATE_UNCHANGED, text)
