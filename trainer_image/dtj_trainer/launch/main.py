"""The entry of PID 1: what must happen before torch is imported, and before a second thread runs."""

from __future__ import annotations

import os
import pwd
import queue
import signal
import sys
import tempfile
from pathlib import Path
from typing import Never

from dtj_api.names import PRELOAD_ENV, Env, ExitCode
from dtj_trainer.launch.events import ChildEnded, Event, Terminate
from dtj_trainer.launch.ranks.command import parse_command
from dtj_trainer.launch.settings import TERMINATION_LOG, BadConfigError, Settings
from dtj_trainer.launch.termination import write_termination

PRELOAD = ("torch.nn.parallel", "torch._dynamo")
"""torch._dynamo is what the first optimizer imports, which costs as much time as torch itself."""


def main() -> Never:
    """Run the launcher; in a forked rank, run that rank."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    # PID 1 has no default action for signals, and the import of torch takes seconds.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: events.put(Terminate()))
    try:
        settings = Settings.from_env(os.environ)
        command = parse_command(sys.argv[1:], settings.processes, preload=settings.preload)
        scratch = make_scratch()
        provide_what_is_missing(scratch)
    except BadConfigError as error:
        write_termination(Path(os.environ.get(Env.TERMINATION_LOG) or TERMINATION_LOG), str(error))
        print(f"dtj: {error}", file=sys.stderr)
        sys.exit(ExitCode.BAD_CONFIG)
    if (settings.processes or 1) > 1:
        # As torchrun does: ranks that share a machine would each take all of its cores.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[Env.RANK_SOCKET] = str(scratch / "ranks.sock")
    # Modules that look for GPUs when they are imported ask the driver, which a fork could not do again, unless so told.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    # With it comes torch, before the fork, so that launcher and ranks share its memory.
    from dtj_trainer.launch.launcher import Launcher
    from dtj_trainer.launch.ranks.rank import run_rank
    from dtj_trainer.launch.ranks.zygote import Start, fork_zygote

    users = [name.strip() for name in os.environ.get(PRELOAD_ENV, "").split(",") if name.strip()]
    forked = fork_zygote([*PRELOAD, *users] if settings.preload else [])
    if isinstance(forked, Start):
        run_rank(forked)
    channel, zygote = forked
    signal.signal(signal.SIGCHLD, lambda *_: events.put(ChildEnded()))
    code = Launcher(settings, command, scratch, channel, events).run(zygote)
    sys.stdout.flush()
    # Threads may be blocked for ever in a store that hangs; nothing is left to be done by any.
    os._exit(code)


def make_scratch() -> Path:
    """A private folder for the ranks' socket and their error files, in memory where that is to be had.

    Neither a full disk nor a read-only root file system then matters, and the path is short, as a socket's must be.

    Raises:
        BadConfigError: no folder can be written to.
    """
    memory = "/dev/shm"
    wanted = os.environ.get(Env.SCRATCH_DIR) or (memory if os.access(memory, os.W_OK) else None)
    try:
        return Path(tempfile.mkdtemp(prefix="dtj-", dir=wanted))
    except OSError as error:
        raise BadConfigError(f"no folder for temporary files: {error}; mount an emptyDir at /tmp") from error


def provide_what_is_missing(scratch: Path) -> None:
    """What torch and others take for granted, and a read-only root or a user that /etc/passwd does not know has not:
    a folder for temporary files, and a name for those that are made there.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folder = scratch / "tmp"
        folder.mkdir()
        os.environ["TMPDIR"] = str(folder)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"uid-{os.getuid()}")
