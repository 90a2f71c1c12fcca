"""Spec to manifests: pure functions from a view and an action to the object that the action creates.

The same view gives the same manifest, byte for byte, and is never changed by it.
"""

from __future__ import annotations

from dtj_api.spec import MAX_WORKERS
from dtj_operator.observe.view import JobView
from dtj_operator.plan.actions import (
    Create,
    CreateClaim,
    CreateKey,
    CreatePolicy,
    CreateService,
    CreateStore,
    CreateWorker,
    DryRunWorker,
)

from .children import claim, key, policy, service
from .launcher import VOLUME as BROUGHT
from .parts import Manifest
from .site import Site
from .store import store
from .worker import worker

__all__ = ["BROUGHT", "Manifest", "Site", "manifest"]


def manifest(view: JobView, action: Create | DryRunWorker, site: Site) -> Manifest:
    """The object that an action creates.

    Raises:
        ValueError: the job's spec cannot be read, has nothing to make it from, or a template that nothing can be added
            to (`ManifestError`).
    """
    match action:
        case CreateWorker(index=index, incarnation=incarnation, avoid=avoid):
            return worker(view, index, incarnation, site, avoid)
        case CreateStore(incarnation=incarnation, avoid=avoid):
            return store(view, incarnation, site, avoid)
        case CreateService():
            return service(view)
        case CreatePolicy():
            return policy(view, site)
        case CreateKey():
            return key(view)
        case CreateClaim():
            return claim(view)
        case DryRunWorker():
            # The last index: its name is free, unless ten thousand workers run already.
            return worker(view, MAX_WORKERS - 1, view.status.incarnation, site)
