"""The job's key in a pod: what the operator's messages and the store's connections are proved with."""

from __future__ import annotations

from dtj_api import names
from dtj_operator.observe.view import JobView

from .parts import Manifest

KEY = "dtj-key"


def mount_key(view: JobView, pod: Manifest, container: Manifest) -> None:
    """Mount the job's Secret, read-only."""
    volume = {"name": KEY, "secret": {"secretName": names.key_name(view.name)}}
    mount = {"name": KEY, "mountPath": names.KEY_MOUNT, "readOnly": True}
    pod["volumes"] = [*(pod.get("volumes") or []), volume]
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
