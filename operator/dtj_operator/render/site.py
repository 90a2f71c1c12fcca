"""What manifests depend on beside the job: where the operator itself is, and where the launcher comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """Facts about the installation."""

    operator_namespace: str | None = None
    """The operator's pods may read the workers' reports and send them messages. None: the operator runs outside the
    cluster, from an address that no policy can name, so these two ports are open to all."""
    launcher_image: str = ""
    """The image whose `dtj-operator copy-launcher` brings the launcher into pods of foreign images: the operator's own.
    Empty: every image must hold it."""
    launcher_pull_policy: str = "IfNotPresent"
