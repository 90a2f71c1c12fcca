"""The ranks of one round on this pod, seen from the launcher."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dtj_trainer.launch.ranks.command import Command
from dtj_trainer.launch.ranks.logs import RankLog
from dtj_trainer.launch.ranks.zygote import MAX_MESSAGE, Start

KILL_GRACE = 0.3
"""Seconds between SIGTERM and SIGKILL for ranks that have nothing left to do: their round is over."""


@dataclass(frozen=True)
class RankExit:
    """One rank ended."""

    id: int
    code: int
    """Exit code; negative: the signal."""
    at: float


class Zygote:
    """The launcher's end of the channel to the process that forks.

    Args:
        channel: to the zygote.
        on_lost: told, from a thread of its own, when the zygote is gone.
    """

    def __init__(self, channel: socket.socket, on_lost: Callable[[], None]) -> None:
        self._channel = channel
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._last_id = 0
        self._forked: dict[int, Forked] = {}
        self._left: set[int] = set()
        """What ranks have left behind that did not end with them."""
        threading.Thread(target=self._listen, name="zygote", daemon=True).start()

    def start(self, command: Command, env: dict[str, str], output: int, rank: Forked) -> None:
        """Fork one process.

        Args:
            command: what it runs.
            env: variables on top of the launcher's own.
            output: descriptor for its standard output and error; closed here.
            rank: told of its pid and its end.
        """
        with self._lock:
            self._last_id += 1
            rank.id = self._last_id
            self._forked[rank.id] = rank
        start = Start(rank.id, command.run_as, command.script, command.module, list(command.argv), env)
        message = json.dumps({"op": "start", "start": asdict(start)}).encode()
        try:
            socket.send_fds(self._channel, [message], [output])
        finally:
            os.close(output)

    def kill(self, rank: Forked, signum: int) -> None:
        """Send a signal to a rank and its children. One that has ended already takes none."""
        self._send(rank, "kill", signum)

    def signal(self, rank: Forked, signum: int) -> None:
        """Send a signal to a rank alone: its children may not know what it means."""
        self._send(rank, "signal", signum)

    def outlived(self, ranks: list[Rank]) -> bool:
        """Whether earlier ranks than these, or what they started, are there yet: memory of a device may be theirs."""
        with self._lock:
            self._left = {pid for pid in self._left if Path(f"/proc/{pid}").exists()}
            return bool(self._left or self._forked.keys() - {rank.id for rank in ranks})

    def _send(self, rank: Forked, op: str, signum: int) -> None:
        # Without a zygote there are no ranks: they end with it.
        with contextlib.suppress(OSError):
            self._channel.send(json.dumps({"op": op, "id": rank.id, "signal": int(signum)}).encode())

    def _listen(self) -> None:
        while True:
            try:
                body = self._channel.recv(MAX_MESSAGE)
            except OSError:
                body = b""
            if not body:
                break
            self._take(json.loads(body))
        with self._lock:
            orphans, self._forked = self._forked, {}
        for id, forked in orphans.items():
            # The kernel has ended them with their parent.
            forked.end(RankExit(id, -signal.SIGKILL, time.time()))
        self._on_lost()

    def _take(self, message: dict[str, Any]) -> None:
        with self._lock:
            rank = self._forked[message["id"]]
            if "exit" in message:
                del self._forked[message["id"]]
                self._left.update(message.get("left", ()))
        if "exit" in message:
            rank.end(RankExit(message["id"], message["exit"], message["at"]))
        else:
            rank.pid = message["pid"]


class Forked:
    """One process that the zygote has forked."""

    def __init__(self) -> None:
        self.id = 0
        self.pid = 0
        self.exit: RankExit | None = None
        self._ended = threading.Event()

    def end(self, exit: RankExit) -> None:
        """The zygote says that it ended."""
        self.exit = exit
        self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended within so many seconds."""
        return self._ended.wait(timeout)


class Rank(Forked):
    """One process of the round."""

    def __init__(self, global_rank: int, local_rank: int, log: RankLog, on_exit: Callable[[Rank], None]) -> None:
        super().__init__()
        self.global_rank = global_rank
        self.local_rank = local_rank
        self.log = log
        self._on_exit = on_exit

    def end(self, exit: RankExit) -> None:
        """See base class."""
        super().end(exit)
        self._on_exit(self)


def stop_ranks(zygote: Zygote, ranks: list[Rank], grace: float = KILL_GRACE) -> list[Rank]:
    """End ranks: SIGTERM, then SIGKILL after the grace. Returns when they are gone, with those that do not go."""
    for rank in ranks:
        zygote.kill(rank, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for rank in ranks:
        rank.wait(max(0.0, deadline - time.monotonic()))
    for rank in ranks:
        if rank.exit is None:
            zygote.kill(rank, signal.SIGKILL)
    for rank in ranks:
        # A process in uninterruptible sleep cannot be killed; the round must not wait for it for ever.
        rank.wait(10.0)
    return [rank for rank in ranks if rank.exit is None]
