"""The storage that all nodes share: one directory of this machine behind static ReadWriteMany volumes.

A static volume serves one claim only, and is never bound again after that claim is gone (its data might still
matter). So a claim made here comes with a volume of its own on a sub-folder, bound to it from the start; made again
under the same name it finds the same files. The volume `dtj-shared` is the whole directory, for whoever wants to
write the claim by hand.
"""

from __future__ import annotations

import os
from pathlib import Path

from dtj_cluster.api import Api, Object
from dtj_cluster.errors import ClusterError

NAME = "dtj-shared"
SIZE = "100Gi"
TRAINER_UID = 1000
_VOLUMES = "/api/v1/persistentvolumes"


def prepare(folder: Path) -> None:
    """Make a directory that the trainer's user may write."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, TRAINER_UID, TRAINER_UID)


def create_shared(api: Api, folder: Path) -> None:
    """Make the volume `dtj-shared` on ``folder``."""
    prepare(folder)
    api.create(_VOLUMES, _volume(NAME, folder, None))


def claim(api: Api, folder: Path, namespace: str, name: str) -> Path:
    """Make the claim ``name`` in ``namespace`` (made when absent) on a sub-folder of ``folder``; returns that
    sub-folder.
    """
    own = folder / namespace / name
    if own.resolve().parent.parent != folder.resolve():
        raise ClusterError(
            f"{namespace}/{name} does not name a namespace and a claim",
            "Use plain names of lower-case letters, digits and dashes.",
        )
    prepare(own.parent)
    prepare(own)
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    if api.get(f"{claims}/{name}") is not None:
        # It is bound: to point its volume at it anew would unbind it, for good.
        return own
    api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    volume = f"{NAME}-{namespace}-{name}"
    reference = {"namespace": namespace, "name": name}
    if not api.create(_VOLUMES, _volume(volume, own, reference)):
        # An earlier claim of this name held it: without its uid the volume is for the new one.
        api.patch(f"{_VOLUMES}/{volume}", {"spec": {"claimRef": {**reference, "uid": None, "resourceVersion": None}}})
    body = {
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": volume,
            "resources": {"requests": {"storage": SIZE}},
        },
    }
    api.create(claims, body)
    return own


def _volume(name: str, folder: Path, reference: dict[str, str] | None) -> Object:
    spec: Object = {
        "capacity": {"storage": SIZE},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "hostPath": {"path": str(folder), "type": "Directory"},
    }
    if reference is not None:
        spec["claimRef"] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference}
    return {"metadata": {"name": name}, "spec": spec}
