"""A few calls to the API server, for the tool's own needs.

The full client takes longer to import than the control plane takes to answer; the tool only reads, creates and
patches a handful of objects, so the standard library's HTTP does.
"""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from dtj_cluster.errors import ClusterError

_TIMEOUT = 10
Object = dict[str, Any]


class Api:
    """The API server at ``host``:``port``, spoken to as the certificate ``name`` of ``pki``."""

    def __init__(self, host: str, port: int, pki: Path, name: str = "admin") -> None:
        self._host, self._port = host, port
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(str(pki / f"{name}.crt"), str(pki / f"{name}.key"))

    def ready(self) -> bool:
        """True when the server answers that it is ready."""
        try:
            return self._call("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str) -> Object | None:
        """The object at ``path``, None when it does not exist."""
        status, body = self._call("GET", path)
        return None if status == 404 else self._checked("GET", path, status, body)

    def create(self, path: str, body: Object) -> bool:
        """Create; False when the object exists already."""
        status, answer = self._call("POST", path, body)
        if status == 409:
            return False
        self._checked("POST", path, status, answer)
        return True

    def patch(self, path: str, body: Object) -> None:
        """Merge ``body`` into the object at ``path``."""
        self._checked("PATCH", path, *self._call("PATCH", path, body, "application/merge-patch+json"))

    def delete(self, path: str) -> None:
        """Delete; nothing happens when the object is gone already."""
        status, body = self._call("DELETE", path)
        if status != 404:
            self._checked("DELETE", path, status, body)

    def _call(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=_TIMEOUT)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": kind, "Accept": "application/json"},
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @staticmethod
    def _checked(method: str, path: str, status: int, body: bytes) -> Object:
        if status >= 300:
            raise ClusterError(
                f"{method} {path}: the API server answered {status}: {body.decode(errors='replace')[:500]}"
            )
        answer: Object = json.loads(body)
        return answer
