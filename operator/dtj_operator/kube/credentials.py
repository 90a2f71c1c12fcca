"""Where the API server is and how to prove who we are.

kubeconfig and service account are read by the official package's loaders (exec plugins included). Tokens expire and
certificates are changed while the process lives: the files of a service account are read again each minute, a
kubeconfig after a 401 or a TLS handshake that failed. A key that a kubeconfig holds is in a file only while it is read:
the ssl module knows no other way.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, kube_config, load_incluster_config, load_kube_config

_TOKEN_LIFE = 60.0
_LOAD_TIMEOUT = 30.0
_UNREADABLE = (
    ConfigException,
    yaml.YAMLError,
    OSError,
    TimeoutError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)
"""What the loaders let through for a file that is not a kubeconfig."""


class CredentialsError(Exception):
    """No usable credentials; the text says what was looked for and what to do."""


@dataclass
class Credentials:
    """One API server and one identity. `authorization` and `tls` stay fresh through `refresh`."""

    server: str
    tls: ssl.SSLContext | None
    """None for plain HTTP. It is another object only when its files have changed: connections are kept by it."""
    tls_digest: str = ""
    """Of the contents of those files."""
    authorization: str | None = None
    """The whole header value, or None when the client certificate says who we are."""
    namespace: str = "default"
    source: str = ""
    """The file or `service account`: named in errors."""
    in_cluster: bool = False
    read_at: float = field(default_factory=time.monotonic)

    async def refresh(self, *, rejected: bool = False) -> None:
        """Read token and certificates again if it is due, or because they were rejected.

        Raises:
            CredentialsError: the source cannot be read any more.
        """
        stale = self.in_cluster and time.monotonic() - self.read_at > _TOKEN_LIFE
        if not stale and not rejected:
            return
        fresh = await load(None if self.in_cluster else self.source)
        self.authorization, self.read_at = fresh.authorization, fresh.read_at
        if fresh.tls_digest != self.tls_digest:
            self.tls, self.tls_digest = fresh.tls, fresh.tls_digest


def find_kubeconfig(given: str | None) -> str | None:
    """The kubeconfig to use: the one given, `KUBECONFIG`, or the default file when there is no service account."""
    if given:
        return given
    if os.environ.get("KUBECONFIG"):
        return os.environ["KUBECONFIG"]
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return None
    return str(Path.home() / ".kube" / "config")


async def load(kubeconfig: str | None = None) -> Credentials:
    """Read the credentials.

    Args:
        kubeconfig: path (or several, joined as in `KUBECONFIG`); None: see `find_kubeconfig`.

    Raises:
        CredentialsError: nothing there, or it cannot be read.
    """
    with _keys_on_disk():
        return await _load(find_kubeconfig(kubeconfig))


async def _load(path: str | None) -> Credentials:
    config: Any = Configuration()
    namespace = "default"
    try:
        if path is None:
            load_incluster_config(client_configuration=config)
            namespace = await asyncio.to_thread(_service_account_namespace)
        else:
            files = [file for file in path.split(os.pathsep) if file]
            if not await asyncio.to_thread(_any_file, files):
                raise CredentialsError(
                    f"kubeconfig {path}: no such file; name one with --kubeconfig or KUBECONFIG, or run in a pod with "
                    "a service account"
                )
            async with asyncio.timeout(_LOAD_TIMEOUT):
                loader = await load_kube_config(path, client_configuration=config, persist_config=False)
            namespace = (loader.current_context.get("context") or {}).get("namespace") or "default"
    except CredentialsError:
        raise
    except _UNREADABLE as error:
        where = path or "service account"
        raise CredentialsError(f"{where}: cannot be used: {error or type(error).__name__}") from error
    token = await config.get_api_key_with_prefix("BearerToken")
    try:
        tls, digest = await asyncio.to_thread(_tls, config)
    except (OSError, ssl.SSLError) as error:
        raise CredentialsError(f"{path or 'service account'}: certificate cannot be used: {error}") from error
    return Credentials(
        server=config.host.rstrip("/"),
        tls=tls,
        tls_digest=digest,
        authorization=f"Bearer {token.split()[-1]}" if token else None,
        namespace=namespace,
        source=path or "service account",
        in_cluster=path is None,
    )


_loading: set[object] = set()


@contextlib.contextmanager
def _keys_on_disk() -> Iterator[None]:
    """The loader writes the keys that a kubeconfig holds into files, and keeps those until the process ends: here until
    the last of those who read at once is done.
    """
    me = object()
    _loading.add(me)
    try:
        yield
    finally:
        _loading.discard(me)
        if not _loading:
            kube_config._cleanup_temp_files()


def _any_file(files: list[str]) -> bool:
    return any(Path(file).expanduser().is_file() for file in files)


def _service_account_namespace() -> str:
    file = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return file.read_text().strip() if file.is_file() else "default"


def _tls(config: Any) -> tuple[ssl.SSLContext | None, str]:
    """How to speak TLS, and the digest of what that was read from."""
    if not config.host.startswith("https"):
        return None, ""
    digest = hashlib.sha256(str(config.verify_ssl).encode())
    for file in (config.ssl_ca_cert, config.cert_file, config.key_file):
        digest.update(hashlib.sha256(Path(file).read_bytes() if file else b"").digest())
    context = ssl.create_default_context(cafile=config.ssl_ca_cert)
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file)
    if not config.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context, digest.hexdigest()
