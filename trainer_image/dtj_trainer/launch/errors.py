"""Whose fault an error is: the user's code, or the world it runs in.

Restarting does not mend a TypeError, and it does mend a lost connection; so an exception of the user's code may stop a
job early, and a signal, OSError, c10d or CUDA device error never does. Peers of a failed rank see only the latter.
"""

from __future__ import annotations

import builtins
import json
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

MAX_TRACE = 3 * 1024
MAX_TEXT = 1024

_WORLD_TYPES = frozenset(
    {"AcceleratorError", "DistError", "KeyboardInterrupt", "MemoryError", "OutOfMemoryError", "SystemExit"}
    | {"DistBackendError", "DistNetworkError", "DistQueueEmptyError", "DistStoreError"}
    # Ours, by name: torch's `record` leaves no base classes, and fewer workers than fit are nobody's mistake.
    | {"ShrunkError"}
)
_VOLUME_TYPES = frozenset({"RestoreError", "SaveError"})
"""Of `dtj`, which raises them for nothing but an OSError."""
_WORLD_TEXT = re.compile(
    r"gloo|nccl|c10d|ProcessGroup|TCPStore|CUDA|cuDNN|cuBLAS|HIP error"
    r"|DataLoader worker|connection (closed|refused|reset)|broken pipe|timed? ?out",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RankError:
    """What a rank said of its own end."""

    message: str
    trace: str
    user_error: bool
    at: float | None

    @property
    def of_volume(self) -> bool:
        """The volume failed under `dtj`."""
        return self.message.partition(":")[0].rpartition(".")[2] in _VOLUME_TYPES


def describe(error: BaseException) -> tuple[str, str, bool]:
    """Type and text, the end of the traceback, and whether it is the user's error."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    message = f"{kinds[0]}: {error}"[:MAX_TEXT]
    trace = "".join(traceback.format_exception(error))[-MAX_TRACE:]
    return message, trace, is_user_error(kinds, str(error))


def is_user_error(kinds: list[str], text: str) -> bool:
    """Judge an exception by the names of its classes (most derived first) and its text."""
    if any(kind in _WORLD_TYPES | _VOLUME_TYPES or _is_os_error(kind) for kind in kinds):
        return False
    # c10d and CUDA raise plain RuntimeErrors for much; the text is all there is to tell them by.
    return not (kinds[0] == "RuntimeError" and _WORLD_TEXT.search(text))


def _is_os_error(kind: str) -> bool:
    known = getattr(builtins, kind, None)
    return isinstance(known, type) and issubclass(known, OSError)


def read_error(path: Path) -> RankError | None:
    """Read what a rank recorded, by us or by torch's `record`; None when there is nothing readable."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    body = record.get("message") if isinstance(record, dict) else None
    if isinstance(body, str):
        body = {"message": body}
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        return None
    message = body["message"][:MAX_TEXT]
    extra = body.get("extraInfo")
    trace = str(extra.get("py_callstack", "")) if isinstance(extra, dict) else ""
    user_error = record.get("user_error")
    if not isinstance(user_error, bool):
        kind, _, text = message.partition(": ")
        user_error = is_user_error([kind.rpartition(".")[2]], text)
    at = record.get("at")
    return RankError(message, trace[-MAX_TRACE:], user_error, at if isinstance(at, float) else None)
