"""The settings of one operator process. Each is an option of `dtj-operator run`; the defaults suit a pod."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from dtj_api import names
from dtj_operator.telemetry.logs import LogFormat


def _identity() -> str:
    """Unique for each process: a pod's name alone is not, since its containers restart."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4()}"


@dataclass(frozen=True)
class Config:
    """Settings of `dtj-operator run`."""

    namespaces: tuple[str, ...] = ()
    """The namespaces to serve; none: all."""
    managed_by: str = names.OPERATOR
    """The value of `spec.managedBy` of the jobs to serve."""
    jobs_metrics_from: tuple[str, ...] = ()
    """The namespaces that `spec.metrics.from` may name."""
    pod_namespace: str | None = field(default_factory=lambda: os.environ.get("POD_NAMESPACE") or None)
    """Where the operator's own pod is: `POD_NAMESPACE`. None: outside the cluster; no pod starts without."""
    kubeconfig: str | None = None
    """None: `KUBECONFIG`, the service account, or the default file, in this order."""
    leader_election: bool = True
    lease_namespace: str | None = None
    """Where the Lease is; None: the first namespace served, else that of the credentials."""
    lease_name: str = names.MANAGED_BY
    """Name of the Lease. With its namespace it is the name of the release: two operators that act on one job are told
    apart by it, whether they use the Lease or not."""
    metrics_host: str = "0.0.0.0"
    metrics_port: int = names.OPERATOR_METRICS_PORT
    """For /metrics; 0: any free one, which is logged."""
    metrics_auth: bool = False
    """Whether /metrics asks for a token. Needs a certificate: a token is not to be sent in the clear."""
    metrics_cert: Path | None = None
    """PEM files of certificate and key of /metrics; None: plain HTTP."""
    metrics_key: Path | None = None
    probe_port: int = names.OPERATOR_PROBE_PORT
    """For /healthz and /readyz; 0: any free one, which is logged."""
    workers: int = 16
    """Jobs that are reconciled at once; of one namespace three quarters as many, and half while they are not known to
    be quick."""
    resync_seconds: float = 300.0
    """Every job is looked at this often, whatever the watches say."""
    qps: float = 500.0
    burst: int = 1000
    launcher_image: str = ""
    """See `render.Site`."""
    launcher_pull_policy: str = "IfNotPresent"
    record: Path | None = None
    """Folder for records of reconciles that did something; None: none are written."""
    log_format: LogFormat = "json"
    log_level: str = "info"
    identity: str = field(default_factory=_identity)
