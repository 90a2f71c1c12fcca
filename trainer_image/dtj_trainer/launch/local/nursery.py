"""A zygote for launchers: local mode imports torch once for all of them, instead of once for each.

`python -m dtj_trainer.launch.local.nursery FD`, where FD is the descriptor of a socket to whoever wants launchers.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Never

from dtj_trainer.launch.ranks.command import Command, RunAs
from dtj_trainer.launch.ranks.process import die_with_parent
from dtj_trainer.launch.ranks.ranks import Forked, Zygote


class Nursery:
    """Starts programs of the launch package in forks of one process that has imported torch.

    Args:
        preload: further modules that it imports.
    """

    def __init__(self, preload: list[str] | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [sys.executable, "-m", "dtj_trainer.launch.local.nursery", str(theirs.fileno()), *(preload or [])]
        # A terminal's Ctrl-C is for whoever runs the launchers, and ends them in order.
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()
        self._channel = ours
        self.zygote = Zygote(ours, lambda: None)

    def start(self, module: str, argv: list[str], env: dict[str, str], output: int | None = None) -> Forked:
        """Run a module in a fork.

        Args:
            module: such as `dtj_trainer.launch`.
            argv: its arguments.
            env: on top of this process's environment.
            output: descriptor for its output, which stays open here; None: this process's standard output.
        """
        return self.program(Command(RunAs.FORK, tuple(argv), module=module), env, output)

    def program(self, command: Command, env: dict[str, str], output: int | None = None) -> Forked:
        """Run any command in a fork; see `start`."""
        program = Forked()
        shared = os.dup(output if output is not None else sys.stdout.fileno())
        self.zygote.start(command, env, shared, program)
        return program

    def close(self) -> None:
        """End it, and with it whatever it has started."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


def main() -> Never:
    """Serve the socket until it is closed."""
    die_with_parent(os.getppid())
    channel = socket.socket(fileno=int(sys.argv[1]))
    from dtj_trainer.launch import launcher  # noqa: F401
    from dtj_trainer.launch.main import PRELOAD
    from dtj_trainer.launch.ranks.rank import run_rank
    from dtj_trainer.launch.ranks.zygote import serve_zygote

    run_rank(serve_zygote(channel, [*PRELOAD, *sys.argv[2:]]))


if __name__ == "__main__":
    main()
