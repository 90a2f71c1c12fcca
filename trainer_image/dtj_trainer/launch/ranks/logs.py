"""The output of ranks: to the pod's log with a prefix, to a bounded file on the volume, and the last lines kept.

A rank must never wait for its log: neither a blocked container log, nor a full or hanging disk may stop training. So
one thread only reads the pipes, and each sink has a thread and a bounded queue of its own; what does not fit is dropped
and counted.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from dtj_trainer.launch.volume.errand import begin

TAIL_LINES = 20
TAIL_BYTES = 2048
MAX_LINE = 16 * 1024
FILE_BYTES = 32 * 1024 * 1024
"""A log file is turned over at this size, and one older half is kept."""
KEPT_ROUNDS = 5
_ROUND = re.compile(r"[0-9]+-[0-9]+")
WAITING_BYTES = 8 * 1024 * 1024
"""Output of one sink that waits to be written; more is dropped."""
_BLOCK = 100
"""Bytes that a block costs beside its own."""


class Sink:
    """A thread that writes blocks somewhere, so that the caller never waits.

    Args:
        name: of the thread.
        write: writes one block; an OSError loses the block and nothing else.
        end: called when the last block is written.
    """

    def __init__(self, name: str, write: Callable[[bytes], None], end: Callable[[], None] = lambda: None) -> None:
        self._write = write
        self._end = end
        self._blocks: deque[bytes] = deque()
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, block: bytes) -> None:
        """Write this when there is time; drop it when too much waits already."""
        with self._changed:
            if self._closed or self._waiting + len(block) + _BLOCK > WAITING_BYTES:
                self.dropped += 1
                return
            self._blocks.append(block)
            self._waiting += len(block) + _BLOCK
            self._changed.notify()

    def close(self, timeout: float) -> None:
        """Write what waits, for at most so many seconds; whatever is left then is written when it can be."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while (block := self._next()) is not None:
            try:
                self._write(block)
            except OSError:
                self.dropped += 1
        self._end()

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._closed)
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self._waiting -= len(block) + _BLOCK
            return block


class LogFile:
    """One bounded file: at `FILE_BYTES` it becomes `<name>.1`, and a new one is begun."""

    def __init__(self, path: Path, limit: int = FILE_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._size = 0
        self._fd = -1

    def write(self, block: bytes) -> None:
        """Append, opening the file on the first block."""
        if self._fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._size = os.fstat(self._fd).st_size
        os.write(self._fd, block)
        self._size += len(block)
        if self._size >= self._limit:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))

    def close(self) -> None:
        """Close the file; a later block opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_all(fd: int) -> Callable[[bytes], None]:
    """A writer that writes whole blocks to a descriptor, as a pipe may take less."""

    def write(block: bytes) -> None:
        while block:
            block = block[os.write(fd, block) :]

    return write


class RankLog:
    """The output of one rank in one round."""

    def __init__(self, rank: int, pod_log: Sink, file: Sink | None) -> None:
        self._prefix = f"[rank {rank}] ".encode()
        self._pod_log = pod_log
        self._file = file
        self._partial = b""
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self.ended = threading.Event()

    def feed(self, block: bytes) -> None:
        """Take what the rank wrote."""
        if self._file:
            self._file.put(block)
        *lines, self._partial = (self._partial + block).split(b"\n")
        if len(self._partial) > MAX_LINE:
            lines.append(self._partial)
            self._partial = b""
        if lines:
            self._tail.extend(lines)
            self._pod_log.put(b"".join(self._prefix + line + b"\n" for line in lines))

    def end(self) -> None:
        """The rank closed its output."""
        if self._partial:
            self.feed(b"\n")
        if self._file:
            self._file.close(0)
        self.ended.set()

    def last_lines(self) -> str:
        """The last 20 lines, however long they are."""
        return self._kept().decode(errors="replace")

    def tail(self) -> str:
        """The last lines, at most 20 and 2 KiB."""
        text = self._kept()
        if len(text) > TAIL_BYTES:
            # Not from the middle of a character on: its later bytes are these.
            text = text[-TAIL_BYTES:].lstrip(bytes(range(0x80, 0xC0)))
        return text.decode(errors="replace")

    def _kept(self) -> bytes:
        return b"\n".join([*self._tail, *([self._partial] if self._partial else [])])


class Logs:
    """All ranks of this pod.

    Args:
        pod_log: where lines with their prefix go (the pod's standard output).
        folder: `<work dir>/logs`, or None without a volume.
    """

    def __init__(self, pod_log: Callable[[bytes], None], folder: Path | None) -> None:
        self._pod_log = Sink("pod-log", pod_log)
        self._folder = folder
        self._pruned: Future[None] | None = None
        """While it goes on, as on a volume that hangs, it is not begun again."""
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._new: list[tuple[int, RankLog]] = []
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="rank-logs", daemon=True).start()

    def open(self, incarnation: int, round: int, rank: int) -> tuple[int, RankLog]:
        """A pipe for a rank: the end that the rank writes to, which the caller closes, and the log it feeds."""
        file = None
        if folder := self.folder_of(incarnation, round):
            log_file = LogFile(folder / f"{rank}.log")
            file = Sink(f"log-of-rank-{rank}", log_file.write, log_file.close)
        log = RankLog(rank, self._pod_log, file)
        read, write = os.pipe()
        os.set_blocking(read, False)
        with self._lock:
            self._new.append((read, log))
        os.write(self._wake_write, b"x")
        return write, log

    def folder_of(self, incarnation: int, round: int) -> Path | None:
        """Where the files of one round are; None without a volume."""
        return self._folder / f"{incarnation}-{round}" if self._folder else None

    def prune(self) -> Future[None] | None:
        """Begin to remove the folders of all but the last rounds; several pods may do so at once.

        Last is what was begun last: a job that goes on in the folder of an older one begins with round 1-1 again.

        Returns:
            What goes on; None without a volume.
        """
        if self._folder is not None and (self._pruned is None or self._pruned.done()):
            self._pruned = begin("log-prune", partial(_prune, self._folder))
        return self._pruned

    def say(self, text: str) -> None:
        """A line of the launcher's own in the pod's log."""
        self._pod_log.put(f"[dtj] {text}\n".encode())

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits."""
        self._pod_log.close(timeout)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._take_new()
                else:
                    self._read(key.fd, key.data)

    def _take_new(self) -> None:
        with self._lock:
            new, self._new = self._new, []
        for fd, log in new:
            self._selector.register(fd, selectors.EVENT_READ, log)

    def _read(self, fd: int, log: RankLog) -> None:
        try:
            block = os.read(fd, 65536)
        except BlockingIOError:
            return
        if block:
            log.feed(block)
            return
        self._selector.unregister(fd)
        os.close(fd)
        log.end()


def _prune(folder: Path) -> None:
    try:
        rounds = [path for path in folder.iterdir() if _ROUND.fullmatch(path.name)]
    except OSError:
        return
    for old in sorted(rounds, key=_last_begun)[:-KEPT_ROUNDS]:
        shutil.rmtree(old, ignore_errors=True)


def _last_begun(folder: Path) -> float:
    """When the last file was made in it."""
    try:
        return folder.stat().st_mtime
    except OSError:
        # Another pod removes it.
        return 0.0
