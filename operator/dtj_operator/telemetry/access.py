"""Who may read /metrics: whoever shows a token that the API server knows and lets `get` the path `/metrics`.

It fails closed: without an answer of the API server nobody reads. Answers are kept for a minute under a hash of the
token, refusals too, and few questions are asked at once, so that a stranger who knocks costs the API server little.
However many knock, they hold up nobody who has read before, and one client holds up no other.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from dtj_operator.connections import Connections
from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.kube.credentials import CredentialsError
from dtj_operator.kube.resources import ACCESS_REVIEWS, TOKEN_REVIEWS, Resource

logger = logging.getLogger(__name__)

KEEP_SECONDS = 60.0
KEPT = 1024
"""Tokens that may read, and as many that may not, whose answers are kept; of more the oldest are asked for again."""
ASK_SECONDS = 5.0
ASKED_AT_ONCE, FOR_ONE_CLIENT = 4, 2
"""Questions about tokens that have not read before, and of these those of one client."""
PATH = "/metrics"


class Access:
    """Answers for one server.

    Args:
        client: the API server, where our own account may create both kinds of reviews.
        clock: seconds that only grow.
        ask_seconds: how long an answer is waited for.
    """

    def __init__(
        self, client: KubeClient, clock: Callable[[], float] = time.monotonic, ask_seconds: float = ASK_SECONDS
    ) -> None:
        self._client = client
        self._clock = clock
        self._ask_seconds = ask_seconds
        self._readers: OrderedDict[bytes, float] = OrderedDict()
        """Tokens that may read, by their hash, and until when that is believed."""
        self._refused: OrderedDict[bytes, tuple[HTTPStatus, float]] = OrderedDict()
        self._readers_asked = asyncio.Semaphore(ASKED_AT_ONCE)
        self._strangers_asked = Connections(ASKED_AT_ONCE, FOR_ONE_CLIENT)

    async def answer(self, authorization: str, client: str) -> HTTPStatus:
        """200, 401 (nobody we know), 403 (may not) or 503 (the API server could not be asked).

        Args:
            authorization: the header of that name; empty: none was sent.
            client: the address that asks.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.isascii() or not token:
            return HTTPStatus.UNAUTHORIZED
        digest = hashlib.sha256(token.encode()).digest()
        if self._clock() < self._readers.get(digest, 0.0):
            return HTTPStatus.OK
        known, until = self._refused.get(digest, (HTTPStatus.UNAUTHORIZED, 0.0))
        if self._clock() < until:
            return known
        turn = self._readers_asked if digest in self._readers else self._strangers_asked.connection(client)
        try:
            async with asyncio.timeout(self._ask_seconds), turn:
                answer = await self._ask(token)
        except (errors.KubeError, CredentialsError, TimeoutError) as error:
            logger.warning("nobody reads %s: the API server could not be asked: %s", PATH, error or "no answer in time")
            return HTTPStatus.SERVICE_UNAVAILABLE
        self._keep(digest, answer)
        return answer

    def _keep(self, digest: bytes, answer: HTTPStatus) -> None:
        until = self._clock() + KEEP_SECONDS
        if answer is HTTPStatus.OK:
            self._refused.pop(digest, None)
            self._readers[digest] = until
            self._readers.move_to_end(digest)
        else:
            self._readers.pop(digest, None)
            self._refused[digest] = (answer, until)
            self._refused.move_to_end(digest)
        for kept in (self._readers, self._refused):
            while len(kept) > KEPT:
                kept.popitem(last=False)

    async def _ask(self, token: str) -> HTTPStatus:
        told = await self._review(TOKEN_REVIEWS, {"token": token})
        user = told.get("user")
        if told.get("authenticated") is not True or not isinstance(user, dict) or not user.get("username"):
            return HTTPStatus.UNAUTHORIZED
        who = {"user": user["username"], **{key: user[key] for key in ("uid", "groups", "extra") if key in user}}
        asked = {**who, "nonResourceAttributes": {"path": PATH, "verb": "get"}}
        told = await self._review(ACCESS_REVIEWS, asked)
        allowed = told.get("allowed") is True and told.get("denied") is not True
        return HTTPStatus.OK if allowed else HTTPStatus.FORBIDDEN

    async def _review(self, resource: Resource, spec: dict[str, Any]) -> Object:
        body: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}, "spec": spec}
        status = (await self._client.create(resource, None, body)).get("status")
        return status if isinstance(status, dict) else {}
