"""What containers of ours ask for beside the user's: little, and whatever quotas and limit ranges of a namespace want.

A quota on `limits.cpu` refuses pods with a container that has none. Whoever is under one gives his own containers a
limit, so ours have one where his trainer does, and none elsewhere: throttling a store delays every recovery.
"""

from __future__ import annotations

from copy import deepcopy

from dtj_api.resources import Resources

from .parts import Manifest

STORE: Manifest = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
"""It takes 23 MB, and a hundred when it holds all that it may."""
EARLIER_STORE: Manifest = {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
"""That of the first version, in trainer images of its time, is torch's: importing torch takes most of this."""
LAUNCHER: Manifest = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
"""A limit is twice its request at most: limit ranges bound that ratio, and some ask for at least 64Mi and 20m."""
CPU_LIMIT = "1"
TMP = "dtj-tmp"


def resources(ours: Manifest, given: Resources | None, trainer: Manifest) -> Manifest:
    """Requests and limits of a container of ours: what the spec says, by name, and the rest of our own.

    Args:
        ours: what it needs.
        given: the spec's field for it.
        trainer: the container that trains.
    """
    made = deepcopy(ours)
    if "cpu" in ((trainer.get("resources") or {}).get("limits") or {}):
        made["limits"]["cpu"] = CPU_LIMIT
    if given is not None:
        made["requests"] |= given.requests
        made["limits"] |= given.limits
    return made


def writable_tmp(pod: Manifest, container: Manifest) -> None:
    """An emptyDir on /tmp for a container whose root cannot be written to, unless something is mounted there.

    Elsewhere /tmp is the image's: it can be written to, and may hold what the image needs.
    """
    mounts = container.get("volumeMounts") or []
    locked = (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is True
    if locked and all((each.get("mountPath") or "").rstrip("/") != "/tmp" for each in mounts):
        pod["volumes"] = [*(pod.get("volumes") or []), {"name": TMP, "emptyDir": {}}]
        container["volumeMounts"] = [*mounts, {"name": TMP, "mountPath": "/tmp"}]
