"""What manifests depend on beside the job: where the operator itself is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """Facts about the installation."""

    operator_namespace: str | None = None
    """The operator's pods may read the workers' reports and send them messages. None: the operator runs outside the
    cluster, from an address that no policy can name, so these two ports are open to all."""
