"""The termination message: what the kubelet copies into the pod's status when the container ends."""

from __future__ import annotations

from pathlib import Path

from dtj_api.wire import NO_RANK, Failure

MAX_BYTES = 4096


def describe_failure(failure: Failure, trace: str) -> str:
    """The first error for a reader: what failed, and the end of its traceback or of its log."""
    how = f"exit code {failure.exit_code}" if failure.exit_code >= 0 else f"signal {-failure.exit_code}"
    who = "the ranks" if failure.rank == NO_RANK else f"rank {failure.rank}"
    where = f"{who} in incarnation {failure.incarnation}, round {failure.round}"
    return f"{where}: {failure.message or how}\n{trace or failure.log_tail}"


def write_termination(path: Path, text: str) -> None:
    """Write the message, cut in the middle to 4 KiB: its first line says what, its end says where.

    A disk or a path that does not take it is no reason for a launcher to stop.
    """
    data = text.encode()
    if len(data) > MAX_BYTES:
        # Only characters that were cut in two are left out: there is nothing else in it that cannot be read.
        head, tail = (part.decode(errors="ignore").encode() for part in (data[:512], data[-(MAX_BYTES - 517) :]))
        data = head + b"\n...\n" + tail
    try:
        path.write_bytes(data)
    except OSError:
        return
