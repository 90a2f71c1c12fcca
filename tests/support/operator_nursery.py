"""Operators forked from a process that has imported what they are made of: two seconds of a core less for each.

`python operator_nursery.py FD`, where FD is the descriptor of a socket to whoever wants operators.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from dtj_trainer.launch.ranks.command import Command, RunAs
from dtj_trainer.launch.ranks.process import die_with_parent
from dtj_trainer.launch.ranks.rank import run_rank
from dtj_trainer.launch.ranks.ranks import Forked, Zygote
from dtj_trainer.launch.ranks.zygote import serve_zygote

PRELOAD = ("dtj_operator.cli.operator", "dtj_operator.cli.run")


class Fork:
    """An operator that was forked, with what tests ask of a `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, argv: Sequence[str], output: int) -> None:
        self._zygote = zygote
        self._forked = Forked()
        command = Command(RunAs.FORK, tuple(argv), module="dtj_operator")
        zygote.start(command, dict(os.environ), os.dup(output), self._forked)

    @property
    def pid(self) -> int:
        """Its number. It is forked within milliseconds, the first one after seconds of imports."""
        while not self._forked.pid:
            if self._forked.wait(0.001):
                raise ProcessLookupError("it was never forked: the process that forks operators has ended")
        return self._forked.pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal, or None while it runs."""
        return None if self._forked.exit is None else self._forked.exit.code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        if not self._forked.wait(timeout):
            raise subprocess.TimeoutExpired("dtj-operator", timeout or 0.0)
        assert self._forked.exit is not None
        return self._forked.exit.code

    def send_signal(self, number: int) -> None:
        """Signal it; one that has ended takes none."""
        self._zygote.signal(self._forked, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def fork(argv: Sequence[str], output: int) -> Fork:
    """Run `dtj-operator` with these arguments, in this process's environment, its output to a descriptor."""
    return Fork(_zygote(), argv, output)


@functools.cache
def _zygote() -> Zygote:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(theirs.fileno())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    theirs.close()
    atexit.register(_end, process, ours)
    return Zygote(ours, lambda: None)


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    process.kill()
    process.wait()
    channel.close()


if __name__ == "__main__":
    die_with_parent(os.getppid())
    start = serve_zygote(socket.socket(fileno=int(sys.argv[1])), PRELOAD)
    # Whole, in place of what the test had set that forked first.
    os.environ.clear()
    run_rank(start)
