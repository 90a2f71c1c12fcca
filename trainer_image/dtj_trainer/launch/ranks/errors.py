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

OUT_OF_MEMORY = "OutOfMemoryError"
"""torch's, of a device."""
_WORLD_TYPES = frozenset(
    {"AcceleratorError", "DistError", "KeyboardInterrupt", "MemoryError", OUT_OF_MEMORY, "SystemExit"}
    | {"DistBackendError", "DistNetworkError", "DistQueueEmptyError", "DistStoreError"}
    # Ours, by name: torch's `record` leaves no base classes, and fewer workers than fit are nobody's mistake.
    | {"ShrunkError"}
)
_VOLUME_TYPES = frozenset({"RestoreError", "SaveError"})
"""Of `dtj`, which raises them for nothing but an OSError."""
_WORLD_PHRASE = re.compile(
    r"(?i:could not resolve|unable to resolve|bad address '|name resolution|name or service not known|getaddrinfo"
    r"|no route to host|(network|host) is (unreachable|down)|failed to connect|could not connect"
    r"|connection (closed|refused|reset|aborted)|broken pipe|timed out|(connect|read|gateway|operation) time-?out"
    r"|empty reply from server|remote end (hung up|closed)|max retries exceeded|address already in use"
    r"|service unavailable|bad gateway|internal server error|too many requests"
    r"|(http(/[\d.]+)?|status code|returned error)[ :=]+50\d\b|\b50\d server error|error 50\d:"
    r"|cannot allocate memory|resource temporarily unavailable"
    r"|no space left on device|disk quota exceeded|read-only file system|(input/output|remote i/o) error"
    r"|stale file handle|transport endpoint is not connected|DataLoader worker)"
    # Of the device itself: that tensors are on `cuda:0 and cpu`, or of another type, is for the user to mend.
    r"|CUDA (driver |runtime |internal |unknown )?error|(CUDA|Cuda) failure|cudaGetDeviceCount|No CUDA GPUs"
    r"|NVML: |device-side assert|cuDNN error|CUDNN_STATUS|CUBLAS_STATUS|HIP error"
)
"""What says by itself that network, volume or device failed, in the words of torch, the system and usual programs."""
_WORLD_WORD = re.compile(
    r"(?i:gloo|nccl|c10d|ProcessGroup|TCPStore|timed?[ -]?out)|(CUDA|HIP) out of memory|DefaultCPUAllocator"
)
"""What says so in an error, and elsewhere may be a setting or a version."""
_USAGE = re.compile(r"\S+: error: ")
"""How argparse begins its word, which may name any setting."""
_FRAME = re.compile(r'  File ".*", line \d+')
_RAISED = re.compile(r"[A-Za-z_][\w.]*(: .*)?")
_OUTERMOST = re.compile(r'  File ".*", line \d+, in <module>|  File "<frozen runpy>"')
"""The first frame of what ends a program; what was caught, or raised in a thread, a task or a handler, has another."""
_ASIDE = re.compile(r"Exception (ignored|in thread)\b")
_CHAINED = re.compile(r"(During handling|The above exception)\b")
_PREFIX = re.compile(r"^\[rank\d+\]: ", re.MULTILINE)
"""Which torch puts before the lines of a traceback once there is a process group."""
_WORLD_NAME = re.compile(
    r"Connect|Disconnect|Time[dD]?[oO]ut|Network|Socket|SSL|gaierror|herror|URLError|HTTP|Http|Proxy|Retry|OSError|ZMQError"
    r"|Unavailable|Throttl|ContentTooShort"
)
"""Names of errors of the network, most of which are an OSError: where there is a name and no base classes."""
_THE_SCRIPTS_OWN = frozenset(
    {"FileExistsError", "FileNotFoundError", "IsADirectoryError", "NotADirectoryError", "PermissionError"}
)
"""Of the OSErrors: before the first step they are a path that is wrong, and a volume that fails raises others."""


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
        return _kind(self.message) in _VOLUME_TYPES

    @property
    def of_memory(self) -> bool:
        """The device has not as much memory as was asked for."""
        return _kind(self.message) == OUT_OF_MEMORY


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
    return not (kinds[0] == "RuntimeError" and _names_the_world(text))


def is_wrong_path(message: str) -> bool:
    """Whether an error, as `RankError.message` has it, says that a file is not there, or is not what was expected."""
    return _kind(message) in _THE_SCRIPTS_OWN


def _kind(message: str) -> str:
    return message.partition(":")[0].rpartition(".")[2]


def printed_error(log: str) -> RankError | None:
    """The error that a traceback at the end of a log ends with; None when there is no traceback.

    A program that no fork of ours runs (`launcher.preload: false`, a shell) records nothing, and prints this.
    """
    text = next((line for line, is_end in reversed(_raised(log)) if is_end), "")
    if not _RAISED.fullmatch(text):
        return None
    message = text[:MAX_TEXT]
    return RankError(message, "", _judged(message), None)


def blames_the_world(log: str) -> bool:
    """Whether the end of a log has an error of the world's, in a traceback or in any line, whatever came of it."""
    said = [line[:MAX_TEXT] for line, _ in _raised(log) if _RAISED.fullmatch(line)]
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    return (
        any(not _may_be_the_users(message) for message in said)
        or bool(_WORLD_PHRASE.search(log))
        or (_names_the_world(last) and not _USAGE.match(last))
    )


def _names_the_world(text: str) -> bool:
    return bool(_WORLD_PHRASE.search(text) or _WORLD_WORD.search(text))


def _may_be_the_users(message: str) -> bool:
    return _judged(message) or is_wrong_path(message) or _kind(message) == OUT_OF_MEMORY


def _raised(log: str) -> list[tuple[str, bool]]:
    """The line after each traceback of a log, and whether it may be what the program ended with."""
    lines = _PREFIX.sub("", log).splitlines()
    found, framed, aside, inner = [], False, False, False
    for number, line in enumerate(lines):
        if _FRAME.match(line):
            framed = True
        elif framed and line[:1] != " ":
            # What the interpreter went on after is not why it ended.
            found.append((line, not (aside or inner)))
            framed = False
        elif line.startswith("Traceback ("):
            chained = number > 1 and _CHAINED.match(lines[number - 2])
            aside = bool((number and _ASIDE.match(lines[number - 1])) or (aside and chained))
            inner = not _OUTERMOST.match("".join(lines[number + 1 : number + 2]))
    return found


def _judged(message: str) -> bool:
    """Whether it is the user's error, by the type's name and the text alone."""
    name, text = _kind(message), message.partition(": ")[2]
    return is_user_error([name], text) and not _WORLD_NAME.search(name)


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
        user_error = _judged(message)
    at = record.get("at")
    return RankError(message, trace[-MAX_TRACE:], user_error, at if isinstance(at, float) else None)
