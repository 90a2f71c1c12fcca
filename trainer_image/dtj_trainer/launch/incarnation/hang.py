"""The end of a round whose ranks hang: their stacks are taken first, then it counts as a failure like any other.

The launcher that finds a hang is seldom on the pod that causes it. So all of them tell through the store which of their
ranks gave no stack, and the failure names such a rank with its pod, or none.

    round/<r>/silent/<place>     JSON: rank to what is known of it, for the ranks of a member that gave no stack
    round/<r>/asked              how many members have told that
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtj_api.wire import NO_RANK, Failure, WireError, decode
from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.progress.phase_watch import Stall
from dtj_trainer.launch.ranks import stacks
from dtj_trainer.launch.ranks.ranks import Rank, Zygote
from dtj_trainer.launch.store.link import StoreLink

PATIENCE = 1.0
"""Seconds for the ranks to write their stacks."""
WRITING = 2.0
"""Seconds for the files. The volume may be what the ranks hang on, and then the round must end without them."""
ANSWERS = 3.0
"""Seconds for the other launchers to tell which of their ranks gave no stack."""
TOGETHER = 0.5
"""Seconds between the word that the round is over and the end of our ranks, for the others to take the stacks of
theirs: a rank that loses its peer is no longer where it hung."""
FOREIGN = "it runs as a subprocess"
NO_LAUNCHER = "its launcher did not answer"
_MOST = 10
"""Ranks without a stack that a message names."""
_STATES = {"T": "the process is stopped", "t": "a debugger holds the process", "D": "the process waits in the kernel"}


@dataclass(frozen=True)
class Stacks:
    """What the ranks of one pod answered. Keys are global ranks."""

    texts: dict[int, bytes]
    silent: dict[int, str]
    """What is known of those that gave none."""


def hang_of(incarnation: int, round: Round, stall: Stall, silent: dict[int, str]) -> Failure:
    """The failure that a hang is.

    Args:
        incarnation: of the round.
        round: the one that hangs.
        stall: what was seen.
        silent: of all members.
    """
    text = f"{stall.text}; stacks are in logs/{incarnation}-{round.number}"
    for rank, why in sorted(silent.items())[:_MOST]:
        text += f"; no stack of rank {rank}: {why}"
    # Ranks that all answered wait for each other: which of them is to blame only their stacks tell.
    rank = min((rank for rank, why in silent.items() if why != FOREIGN), default=NO_RANK)
    place = round.place_of(rank)
    return Failure(
        incarnation=incarnation,
        round=round.number,
        rank=rank,
        local_rank=NO_RANK if place is None else rank - round.first_rank_of(place),
        at=time.time() - stall.seconds,
        exit_code=0,
        message=text,
        log_tail="",
        user_error=False,
        hang=True,
        pod="" if place is None else round.members[place].name,
        pod_uid="" if place is None else round.members[place].node.rpartition("/")[2],
    )


def is_hang(why: str) -> bool:
    """Whether the next round was opened because of a hang."""
    try:
        return bool(why) and decode(Failure, why.encode()).hang
    except WireError:
        return False


def take_stacks(zygote: Zygote, ranks: list[Rank], file_of: Callable[[int], Path] | None) -> Stacks:
    """Ask all ranks for their stacks.

    Args:
        zygote: their parent.
        ranks: those of the round on this pod.
        file_of: local rank to where it writes them; None: they are foreign programs, which the signal would end.
    """
    running = [rank for rank in ranks if rank.exit is None]
    if file_of is not None:
        for rank in running:
            zygote.signal(rank, stacks.SIGNAL)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not all(_size(file_of(rank.local_rank)) for rank in running):
            time.sleep(0.02)
    taken = Stacks({}, {})
    for rank in running:
        text = b"" if file_of is None else _read(file_of(rank.local_rank))
        if not text:
            otherwise = FOREIGN if file_of is None else "the process did not answer"
            taken.silent[rank.global_rank] = _state(rank.pid, otherwise)
            text = f"no stack: {taken.silent[rank.global_rank]}\n".encode()
        taken.texts[rank.global_rank] = text
    return taken


def keep_stacks(taken: Stacks, folder: Path | None) -> None:
    """Write them to `<folder>/<rank>.stack`.

    Args:
        taken: by `take_stacks`.
        folder: made where it is missing; None: there is no volume. One that fails or hangs costs the files and nothing
            else.
    """
    if folder is not None:
        writer = threading.Thread(target=_write, args=(folder, taken.texts), name="stacks", daemon=True)
        writer.start()
        writer.join(WRITING)


def tell_silent(link: StoreLink, round: Round, silent: dict[int, str]) -> None:
    """Tell the other members which of our ranks gave no stack.

    Raises:
        StoreLostError: the store is gone or hangs.
    """
    link.set(f"round/{round.number}/silent/{round.place}", json.dumps(silent))
    link.add(f"round/{round.number}/asked", 1)


def gather_silent(link: StoreLink, round: Round, pause: Callable[[float], None]) -> dict[int, str]:
    """The ranks of all members that gave no stack, and those of launchers that have not told in time.

    Raises:
        StoreLostError: the store is gone or hangs.
    """
    deadline = time.monotonic() + ANSWERS
    while link.add(f"round/{round.number}/asked", 0) < len(round.members) and time.monotonic() < deadline:
        pause(0.05)
    silent: dict[int, str] = {}
    for place, member in enumerate(round.members):
        said = link.get(f"round/{round.number}/silent/{place}")
        if said is not None:
            silent |= {int(rank): str(why) for rank, why in json.loads(said).items()}
        else:
            first = round.first_rank_of(place)
            silent |= {rank: NO_LAUNCHER for rank in range(first, first + member.ranks)}
    return silent


def _state(pid: int, otherwise: str) -> str:
    """Why a process did not answer, as far as the kernel tells."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "the process is gone"
    return _STATES.get(letter, otherwise)


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


def _write(folder: Path, texts: dict[int, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for rank, text in texts.items():
            (folder / f"{rank}.stack").write_bytes(text)
    except OSError as error:
        print(f"dtj: the stacks could not be written to {folder}: {os.strerror(error.errno or 0)}", flush=True)
