"""How the launcher comes into a pod: it is in the trainer's image, and an init container brings it into any other one.

A foreign image needs Python and torch, and nothing of ours.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.template import is_own_image

from .parts import Manifest
from .pod import OWN_USER
from .site import Site

VOLUME = "dtj-launcher"


def entry(container: Manifest, module: str, site: Site) -> list[str]:
    """The command that starts a module of the launcher in this container."""
    if is_brought(container, site):
        return ["python", f"{names.LAUNCHER_MOUNT}/{names.LAUNCHER_START}", module]
    return ["python", "-m", module]


def is_brought(container: Manifest, site: Site) -> bool:
    """Whether the launcher has to be brought into this container."""
    return bool(site.launcher_image) and not is_own_image(container.get("image") or "")


def bring(pod: Manifest, container: Manifest, site: Site, needs: Manifest) -> None:
    """Add the init container, before the user's own, and the folder that it fills, if the image is foreign."""
    if not is_brought(container, site):
        return
    mount = {"name": VOLUME, "mountPath": names.LAUNCHER_MOUNT}
    brings: Manifest = {
        "name": VOLUME,
        "image": site.launcher_image,
        "imagePullPolicy": site.launcher_pull_policy,
        "command": ["dtj-operator", "copy-launcher", names.LAUNCHER_MOUNT],
        "resources": needs,
        "securityContext": {
            "runAsUser": OWN_USER,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [mount],
    }
    pod["initContainers"] = [brings, *(pod.get("initContainers") or [])]
    pod["volumes"] = [*(pod.get("volumes") or []), {"name": VOLUME, "emptyDir": {"sizeLimit": "64Mi"}}]
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), {**mount, "readOnly": True}]
