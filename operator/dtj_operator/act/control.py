"""Control messages to the launchers, signed with the job's key.

Each is idempotent, so a lost answer costs nothing: the next reconcile sends it again. The launcher answers with its
report, which is fresher than any fetched one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from dtj_api import names, wire
from dtj_operator.observe.reports import launcher_session, read_report

TIMEOUT = 3.0

_PATH_OF = {kind: path for path, kind in wire.PATHS.items()}


class ControlError(Exception):
    """A launcher did not take a message; the text says which pod and why."""


class KeyRefusedError(ControlError):
    """A launcher holds another key than the one that the message was signed with."""


@dataclass(frozen=True)
class Address:
    """Where a launcher is and which pod it must be."""

    pod: str
    uid: str
    ip: str


class Control:
    """Sends messages to launchers. Close it with `close`."""

    def __init__(self, *, port: int = names.CONTROL_PORT, timeout: float = TIMEOUT) -> None:
        self._port = port
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def send(self, to: Address, message: wire.Message, key: bytes) -> wire.Report:
        """Send one message; the answer is the launcher's report after it took it.

        Raises:
            KeyRefusedError: the launcher does not take the signature for ours.
            ControlError: not reached, refused, or the answer cannot be read.
        """
        if self._session is None:
            self._session = launcher_session()
        path, body = _PATH_OF[type(message)], wire.encode(message)
        headers = {
            wire.SIGNATURE_HEADER: wire.sign(key, path, to.uid, body),
            wire.POD_HEADER: to.uid,
            "Content-Type": "application/json",
        }
        url = f"http://{wire.address(to.ip, self._port)}{path}"
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                if response.status == HTTPStatus.FORBIDDEN:
                    said = (await response.content.read(200)).strip()
                    # A proxy on the way, or another pod under the address, may answer 403 as well.
                    kind = KeyRefusedError if said == wire.OTHER_KEY else ControlError
                    raise kind(
                        f"{path} to {to.pod} at {to.ip}: status {HTTPStatus.FORBIDDEN.value}: "
                        f"{said.decode(errors='replace')}"
                    )
                return await read_report(response)
        except (aiohttp.ClientError, TimeoutError, wire.WireError) as error:
            raise ControlError(f"{path} to {to.pod} at {to.ip}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()
