"""What can go wrong on the way to the API server, as types.

The trap avoided here: an error answer does not say that the write failed. A create answered 500, 504 or nothing may
have landed, so `may_have_landed` is part of each error and the caller asks the server before it draws conclusions.
"""

from __future__ import annotations

from typing import Any


class KubeError(Exception):
    """An API call failed; the text says which call and what the server answered."""

    code: int = 0
    """HTTP status, 0 when there was no answer."""
    may_have_landed: bool = False
    """A write may have been stored although the answer is an error."""
    passing: bool = False
    """Likely to pass by itself, so that the client may try again."""

    def __init__(self, call: str, message: str, *, code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"{call}: {message}")
        self.call = call
        self.message = message
        if code is not None:
            self.code = code
        self.retry_after = retry_after
        """Seconds that the server asked to wait; None when it did not."""


class BadRequest(KubeError):
    """400: the server could not read the request."""

    code = 400


class Unauthorized(KubeError):
    """401: the credentials are wrong or have expired."""

    code = 401


class Forbidden(KubeError):
    """403: not allowed, over quota, or an etcd outage in disguise."""

    code = 403


class NamespaceGoing(Forbidden):
    """403: the namespace is being deleted, and everything in it; nothing new is taken."""


class NotFound(KubeError):
    """404: no such object, or no such resource."""

    code = 404


class Conflict(KubeError):
    """409: the object changed since it was read, or a precondition does not hold."""

    code = 409


class AlreadyExists(KubeError):
    """409: an object of that name is there already; whose it is, the caller must see."""

    code = 409


class Gone(KubeError):
    """410: the resourceVersion is too old to go on from; list again."""

    code = 410


class Invalid(KubeError):
    """422: the object breaks a rule of the schema or of its validation."""

    code = 422


class Throttled(KubeError):
    """429: too many requests, or an eviction that a budget forbids now. Nothing was stored."""

    code = 429
    passing = True


class Unavailable(KubeError):
    """5xx, a broken connection or a time-out: no one knows whether a write was stored."""

    code = 500
    may_have_landed = True
    passing = True


class NoCredentials(KubeError):
    """There is nothing to prove who we are by at this moment: a file is being written, or a plugin fails."""

    passing = True


class TooLarge(KubeError):
    """The answer is longer than is read at once."""


_BY_CODE: dict[int, type[KubeError]] = {
    kind.code: kind for kind in (BadRequest, Unauthorized, Forbidden, NotFound, Conflict, Gone, Invalid, Throttled)
}


def from_answer(call: str, code: int, status: Any, retry_after: str | None = None) -> KubeError:
    """The error for an answer of the API server.

    Args:
        call: what was asked, for the text.
        code: the HTTP status.
        status: the decoded body, a `Status` object when the server itself answered.
        retry_after: the header of that name.
    """
    body = status if isinstance(status, dict) else {}
    message = str(body.get("message") or status or "no message")[:2000]
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    if code == 409 and body.get("reason") == "AlreadyExists":
        return AlreadyExists(call, message, retry_after=seconds)
    if code == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in _causes(body)):
        return NamespaceGoing(call, message, retry_after=seconds)
    kind = _BY_CODE.get(code, Unavailable if code >= 500 else KubeError)
    return kind(call, message, code=code, retry_after=seconds)


def _causes(status: dict[str, Any]) -> list[dict[str, Any]]:
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [each for each in causes if isinstance(each, dict)] if isinstance(causes, list) else []
