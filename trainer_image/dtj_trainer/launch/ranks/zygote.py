"""The process that ranks are forked from: it has imported torch, and has no thread, no CUDA and no sockets of its own.

Importing torch and torch._dynamo (which the first optimizer needs) costs seconds; a fork costs hundredths. The launcher
forks this process before it starts a thread, since a fork of a threaded process may copy a held lock. Commands that are
no Python of ours are forked and executed here as well, so that every rank has one kind of parent, which the kernel
watches for it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Never

from dtj_api.names import PRELOAD_ENV
from dtj_trainer.launch.ranks.process import adopt_orphans, children, die_with_parent, members, name_of

MAX_MESSAGE = 128 * 1024
FAMILY_PATIENCE = 5.0
"""Seconds for what a rank started to be gone after it: until then it may hold a GPU's memory. A process that waits in
the kernel, for a volume perhaps, may never be."""
_LOOK = 0.01


@dataclass(frozen=True)
class Start:
    """One rank to start, as the launcher asks for it."""

    id: int
    run_as: str
    script: str
    module: str
    argv: list[str]
    env: dict[str, str]


def fork_zygote(preload: Iterable[str]) -> tuple[socket.socket, int] | Start:
    """Fork the zygote. Must be called before the process has a second thread.

    Returns:
        In the launcher, the channel to the zygote and its pid. In each rank, later, what that rank must run.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    launcher = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, pid
    ours.close()
    # A terminal's Ctrl-C is for the launcher, which ends its ranks in order.
    os.setsid()
    die_with_parent(launcher)
    return serve_zygote(theirs, preload)


def serve_zygote(channel: socket.socket, preload: Iterable[str]) -> Start:
    """Be the zygote; returns only in each rank, with what it must run."""
    _import_all(preload)
    # What is here now is never collected: the ranks' collectors would only copy its pages.
    gc.collect()
    gc.freeze()
    return _Zygote(channel).serve()


failed_imports: list[str] = []
"""What could not be imported ahead, and why. A second try may fail by what the first one left behind."""


def _import_all(names: Iterable[str]) -> None:
    for name in names:
        threads = _threads()
        try:
            importlib.import_module(name)
        except Exception as error:
            failed_imports.append(f"{name} could not be imported ahead: {type(error).__name__}: {error}")
            _say(failed_imports[-1])
        if _threads() > threads:
            _say(f"{name} starts a thread when it is imported, which no rank will have; take it out of {PRELOAD_ENV}")
    if _uses_cuda():
        _say(f"a module of {PRELOAD_ENV} uses CUDA when it is imported, and no rank can then; take it out")
    # What they have printed would be printed by each rank again.
    sys.stdout.flush()
    sys.stderr.flush()


def _say(text: str) -> None:
    print(f"dtj: {text}", file=sys.stderr, flush=True)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _uses_cuda() -> bool:
    """Whether a fork of this process could not use CUDA any more, which only a fork can tell."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(int(torch.cuda._is_in_bad_fork()))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def _is_there(group: int) -> bool:
    """Whether a process group has a member, ended ones too until they are reaped."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class _Ended:
    """A rank that has ended, and perhaps not all that it started."""

    group: int
    message: dict[str, Any]
    deadline: float


class _Zygote:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pids: dict[int, int] = {}
        self._ended: list[_Ended] = []
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def serve(self) -> Start:
        """Start and reap ranks until the launcher is gone; returns only in a forked rank."""
        # A daemon of a rank, in a session of its own, would live on with its GPU and its ports.
        adopt_orphans()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        channel = self._channel.fileno()
        while True:
            readable, _, _ = select.select([channel, self._wake_read], [], [], _LOOK if self._ended else None)
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._ended:
                self._end_families()
            if channel in readable:
                body, fds, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE, 1)
                if not body:
                    self._end()
                request = json.loads(body)
                if request["op"] == "kill":
                    self._kill(request["id"], request["signal"])
                elif request["op"] == "signal":
                    self._signal(request["id"], request["signal"])
                elif (start := self._fork(Start(**request["start"]), fds[0])) is not None:
                    return start

    def _fork(self, start: Start, output: int) -> Start | None:
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_rank(zygote, output)
            return start
        os.close(output)
        self._pids[start.id] = pid
        self._tell({"id": start.id, "pid": pid})
        return None

    def _become_rank(self, zygote: int, output: int) -> None:
        # Its own session, so that one signal reaches the rank with its data loaders, and no terminal's signal does.
        os.setsid()
        die_with_parent(zygote)
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._channel.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(nothing)
        os.close(output)

    def _kill(self, id: int, signum: int) -> None:
        pid = self._pids.get(id)
        if pid is None:
            return
        try:
            os.killpg(pid, signum)
        except ProcessLookupError:
            # Forked this moment, and not yet the leader of its group.
            os.kill(pid, signum)

    def _signal(self, id: int, signum: int) -> None:
        if (pid := self._pids.get(id)) is not None:
            # Until it is reaped, which happens here, its number belongs to nobody else.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _reap(self) -> None:
        while True:
            try:
                # Without collecting it yet: while the leader is a zombie, its group's number is not given to others.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            id = next((id for id, known in self._pids.items() if known == pid), None)
            if id is not None:
                # What the rank leaves running (data loaders) must not outlive it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                del self._pids[id]
            _, status = os.waitpid(pid, 0)
            if id is not None:
                message = {"id": id, "exit": os.waitstatus_to_exitcode(status), "at": time.time()}
                self._ended.append(_Ended(pid, message, time.monotonic() + FAMILY_PATIENCE))

    def _end_families(self) -> None:
        """Tell of ranks that have ended once all that they started has, and say what does not end."""
        strays = self._end_strays()
        for each in list(self._ended):
            if strays or _is_there(each.group):
                if time.monotonic() < each.deadline:
                    continue
                left = sorted(strays | members(each.group))
                each.message["left"] = left
                _say(f"what a rank started does not end: {', '.join(map(name_of, left))}")
            self._ended.remove(each)
            self._tell(each.message)

    def _end_strays(self) -> set[int]:
        """End what ranks left behind in sessions of their own, once no rank runs whose it may be; what is there yet."""
        if self._pids:
            return set()
        strays = children()
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return strays

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(json.dumps(message).encode())
        except OSError:
            self._end()

    def _end(self) -> Never:
        for id in self._pids:
            self._kill(id, signal.SIGKILL)
        os._exit(0)
