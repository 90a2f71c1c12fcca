"""A server's certificate from two files that are exchanged while it runs, as a kubelet does with a mounted Secret."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0


class CertificateError(Exception):
    """The certificate cannot be used; the text names the files and what to do."""


class Certificate:
    """A TLS context whose certificate follows its files: connections that are made from then on get the new one.

    Args:
        certificate: PEM file, the server's own first.
        key: PEM file of its key.
        look_seconds: pause between two looks at the files.

    Raises:
        CertificateError: they cannot be read or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path, look_seconds: float = LOOK_SECONDS) -> None:
        self._files = (certificate, key)
        self._look_seconds = look_seconds
        self._seen: tuple[tuple[int, int], ...] = ()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.load()

    def load(self) -> None:
        """Take the files as they are now, where they have changed.

        Raises:
            CertificateError: they cannot be read or do not belong together; what was loaded before stays in use.
        """
        certificate, key = self._files
        try:
            seen = tuple((stat.st_mtime_ns, stat.st_ino) for stat in (certificate.stat(), key.stat()))
            if seen != self._seen:
                # Tried apart first: a context that has taken a certificate without its key serves nobody.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
                self.context.load_cert_chain(certificate, key)
                self._seen = seen
        except OSError as error:
            raise CertificateError(
                f"--metrics-tls-cert {certificate}, --metrics-tls-key {key}: {error.strerror or error}; give the PEM "
                "files of a certificate and its key, such as tls.crt and tls.key of a mounted Secret"
            ) from error

    async def follow(self) -> None:
        """Look at the files until cancelled."""
        said = ""
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await asyncio.to_thread(self.load)
                said = ""
            except CertificateError as error:
                if str(error) != said:
                    logger.warning("the certificate of before stays in use: %s", error)
                said = str(error)
