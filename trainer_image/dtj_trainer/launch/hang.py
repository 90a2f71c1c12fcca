"""The end of a round whose ranks hang: their stacks are taken first, then it counts as a failure like any other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dtj_api.wire import Failure, WireError, decode
from dtj_trainer.launch import stacks
from dtj_trainer.launch.ranks import Rank, Zygote
from dtj_trainer.launch.stall import Stall

PATIENCE = 1.0
"""Seconds for the ranks to write their stacks."""
WRITING = 2.0
"""Seconds for the files. The volume may be what the ranks hang on, and then the round must end without them."""
TOGETHER = 0.5
"""Seconds between the word that the round is over and the end of our ranks, for the others to take the stacks of
theirs: a rank that loses its peer is no longer where it hung."""
_STATES = {"T": "the process is stopped", "t": "a debugger holds the process", "D": "the process waits in the kernel"}


def hang_of(incarnation: int, round: int, ranks: list[Rank], stall: Stall, without: dict[int, str]) -> Failure:
    """The failure that a hang is.

    Args:
        incarnation: of the round.
        round: its number.
        ranks: those on this pod.
        stall: what was seen.
        without: from `collect_stacks`.
    """
    text = f"{stall.text}; stacks are in logs/{incarnation}-{round}"
    for rank, why in without.items():
        text += f"; no stack of rank {rank}: {why}"
    named = next((rank for rank in ranks if rank.global_rank in without), ranks[0])
    return Failure(
        incarnation=incarnation,
        round=round,
        rank=named.global_rank,
        local_rank=named.local_rank,
        at=time.time() - stall.seconds,
        exit_code=0,
        message=text,
        log_tail="",
        user_error=False,
        hang=True,
    )


def is_hang(why: str) -> bool:
    """Whether the next round was opened because of a hang."""
    try:
        return bool(why) and decode(Failure, why.encode()).hang
    except WireError:
        return False


def collect_stacks(
    zygote: Zygote, ranks: list[Rank], file_of: Callable[[int], Path] | None, folder: Path | None
) -> dict[int, str]:
    """Ask all ranks for their stacks, and write them to `<folder>/<rank>.stack`.

    Args:
        zygote: their parent.
        ranks: those of the round on this pod.
        file_of: local rank to where it writes them; None: they are foreign programs, which the signal would end.
        folder: made where it is missing; None: there is no volume. One that fails or hangs costs the files and nothing
            else.

    Returns:
        Global rank to what is known of it, for those without stacks.
    """
    running = [rank for rank in ranks if rank.exit is None]
    if file_of is not None:
        for rank in running:
            zygote.kill(rank, stacks.SIGNAL)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not all(_size(file_of(rank.local_rank)) for rank in running):
            time.sleep(0.02)
    missing: dict[int, str] = {}
    texts: dict[str, bytes] = {}
    for rank in running:
        text = b"" if file_of is None else _read(file_of(rank.local_rank))
        if not text:
            missing[rank.global_rank] = "it runs as a subprocess" if file_of is None else _state(rank.pid)
            text = f"no stack: {missing[rank.global_rank]}\n".encode()
        texts[f"{rank.global_rank}.stack"] = text
    if folder is not None:
        writer = threading.Thread(target=_write, args=(folder, texts), name="stacks", daemon=True)
        writer.start()
        writer.join(WRITING)
    return missing


def _state(pid: int) -> str:
    """Why a process did not answer, as far as the kernel tells."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "the process is gone"
    return _STATES.get(letter, "the process did not answer")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _write(folder: Path, texts: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_bytes(text)
    except OSError as error:
        print(f"dtj: the stacks could not be written to {folder}: {os.strerror(error.errno or 0)}", flush=True)
