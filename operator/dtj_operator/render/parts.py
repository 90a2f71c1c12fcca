"""What all manifests share: names, labels, owner.

The controller's owner reference is how children are found and how they go; labels only narrow the watch.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from dtj_api import names
from dtj_api.base import ManifestError
from dtj_api.names import Component, Label
from dtj_api.shape import misshapen
from dtj_api.spec import JobSpec
from dtj_operator.observe.view import JobView

Manifest = dict[str, Any]


def spec_of(view: JobView) -> JobSpec:
    """The job's spec.

    Raises:
        ValueError: it cannot be read; no plan asks for manifests of such a job.
    """
    if view.spec is None:
        raise ValueError(f"spec of {view.namespace}/{view.name} cannot be read: {view.spec_error}")
    return view.spec


def template_of(spec: JobSpec) -> Manifest:
    """The pod template, to be changed at will: a copy.

    Raises:
        ManifestError: nothing can be added to it.
    """
    if (wrong := misshapen(spec.workers.template)) is not None:
        raise ManifestError(wrong)
    return deepcopy(spec.workers.template)


def metadata(view: JobView, name: str, labels: Mapping[str, str] | None = None, *, owned: bool = True) -> Manifest:
    """Metadata of a child: the name, our labels and the owner."""
    data: Manifest = {"name": name, "namespace": view.namespace, "labels": {**job_labels(view), **(labels or {})}}
    if owned:
        data["ownerReferences"] = [owner(view)]
    return data


def job_labels(view: JobView) -> dict[str, str]:
    """Labels of every child."""
    return {
        str(Label.MANAGED_BY): names.MANAGED_BY,
        str(Label.JOB_NAME): view.name,
        str(Label.JOB_UID): view.uid,
    }


def pod_labels(component: Component, incarnation: int, index: int | None = None) -> dict[str, str]:
    """Labels of a pod beside those of every child."""
    labels = {str(Label.COMPONENT): str(component), str(Label.INCARNATION): str(incarnation)}
    if index is not None:
        labels[str(Label.INDEX)] = str(index)
    return labels


def owner(view: JobView) -> Manifest:
    """The owner reference. It does not block the owner's deletion, which would need rights on its finalizers."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": view.name,
        "uid": view.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def worker_selector(view: JobView) -> dict[str, str]:
    """Labels that only this job's workers have."""
    return {str(Label.JOB_UID): view.uid, str(Label.COMPONENT): str(Component.WORKER)}
