"""What kopf is asked for: the watch on the jobs, and login. Its events only name the job to look at.

Its settings avoid its traps: no index and no worker limit (together they never start), no high-level handler (they
write annotations and finalizers), no scanning of all CRDs (two more streams whose errors end the process), no peering
(it is not leader election).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import kopf

from dtj_api import names
from dtj_operator.kube.credentials import Credentials

_LOGIN_LIFE = timedelta(minutes=1)


def registry(credentials: Credentials, wake: Callable[[tuple[str, str]], None]) -> kopf.OperatorRegistry:
    """The handlers, in a registry of their own so that importing this module has no effect."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_kwargs: Any) -> kopf.ConnectionInfo:
        # kopf asks again when what it has is rejected.
        await credentials.refresh(rejected=not credentials.in_cluster)
        scheme, _, token = (credentials.authorization or "").partition(" ")
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_path=credentials.ca_file,
            insecure=credentials.insecure,
            scheme=scheme or None,
            token=token or None,
            certificate_path=credentials.cert_file,
            private_key_path=credentials.key_file,
            default_namespace=credentials.namespace,
            expiration=datetime.now(UTC) + _LOGIN_LIFE if credentials.in_cluster else None,
        )

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=handlers)
    async def job_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        wake((namespace or "", name or ""))

    return handlers


def settings() -> kopf.OperatorSettings:
    """kopf's settings, each with its reason in the module's docstring or beside it."""
    chosen: Any = kopf.OperatorSettings()
    chosen.peering.standalone = True
    chosen.scanning.disabled = True
    chosen.posting.enabled = False
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 310
    chosen.watching.connect_timeout = 10
    chosen.watching.chunk_size = 500
    chosen.queueing.exit_timeout = 20
    chosen.networking.request_timeout = 30
    chosen.networking.error_backoffs = (0.5, 1, 2, 4)
    chosen.networking.enforce_retry_after = True
    return cast(kopf.OperatorSettings, chosen)
