"""Built things, kept outside the checkout and named by what they were built from.

A build writes to a folder of its own, which is renamed into place when whole: a build that was killed leaves nothing
that looks finished. A file lock keeps two callers from building one thing twice. The programs that a build starts
inherit the lock's descriptor, so a build whose Python part was killed still holds the lock until its compiler has
ended: otherwise the next caller would delete the folder that the orphan writes to. Nothing is removed by itself: a
running cluster, or another checkout, may still need what an older version built.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from dtj_cluster import together
from dtj_cluster.errors import ClusterError
from dtj_cluster.progress import Step, steps

TAIL_LINES = 15
KEY_CHARACTERS = 12


class BuildError(ClusterError):
    """A build step failed; says which, the end of its log, and how to mend it."""


def root() -> pathlib.Path:
    """The cache folder, `$XDG_CACHE_HOME/dtj/cluster` or `~/.cache/dtj/cluster`, made when absent."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(base) / "dtj" / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(*parts: str | bytes | pathlib.Path) -> str:
    """A short hash of the parts in order; a path counts by its name and content, a folder by all files below it.

    Bytecode does not count: running the checkout makes it.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, pathlib.Path):
            files = (
                sorted(p for p in part.rglob("*") if p.is_file() and p.parent.name != "__pycache__")
                if part.is_dir()
                else [part]
            )
            for file in files:
                name = file.relative_to(part) if part.is_dir() else pathlib.Path(file.name)
                _feed(digest, os.fsencode(name))
                _feed(digest, file.read_bytes())
        else:
            _feed(digest, part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:KEY_CHARACTERS]


def _feed(digest: "hashlib._Hash", data: bytes) -> None:
    # The length goes in first, so that ("ab", "c") and ("a", "bc") differ.
    digest.update(len(data).to_bytes(8, "big"))
    digest.update(data)


@contextlib.contextmanager
def lock(name: str) -> Iterator[int]:
    """Hold the named lock across processes; yields the descriptor to hand to started programs (`pass_fds`)."""
    folder = root() / "locks"
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _taken(descriptor):
            with steps.step(f"{name}: waiting for another build of it"):
                while not _taken(descriptor):
                    together.current().check()
                    time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Build:
    """What a build function gets: the folder to fill, and `run` for the programs it needs."""

    def __init__(self, name: str, folder: pathlib.Path, lock_descriptor: int, step: Step) -> None:
        self.name = name
        self.folder = folder
        self.step = step
        self.log = root() / "logs" / f"{name}.log"
        self._lock = lock_descriptor

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        mend: str,
        cwd: pathlib.Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Run a program with its output in the log; `env` is added to the environment.

        Raises BuildError when the program is absent or ends with another status than 0, GivenUp when another part
        failed meanwhile.
        """
        words = [os.fspath(word) for word in argv]
        parts = together.current()
        parts.check()
        self.log.parent.mkdir(exist_ok=True)
        tail: list[str] = []
        with self.log.open("a", buffering=1) as log:
            log.write(f"$ {' '.join(words)}\n")
            try:
                process = subprocess.Popen(
                    words,
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    pass_fds=(self._lock,),
                )
            except FileNotFoundError as error:
                raise BuildError(f"{self.step.title} failed: {words[0]} is not installed", mend) from error
            with process, parts.running(process):
                assert process.stdout is not None
                for line in process.stdout:
                    log.write(line)
                    tail = [*tail, line.rstrip()][-TAIL_LINES:]
                    if on_line is not None:
                        on_line(line)
        parts.check()
        if process.returncode != 0:
            raise BuildError(_failure(self.step.title, words, process.returncode, tail, self.log), mend)


def _failure(step: str, words: Sequence[str], status: int, tail: Sequence[str], log: pathlib.Path) -> str:
    ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    lines = "\n".join(f"  | {line}" for line in tail) or "  | (it printed nothing)"
    return f"{step} failed: `{' '.join(words)}` {ended}:\n{lines}\n(all of it: {log})"


@contextlib.contextmanager
def workspace(name: str, title: str, descriptor: int) -> Iterator[Build]:
    """A folder to build in, removed at the end; `descriptor` is the lock of that name, which the caller holds."""
    prefix = f".{name}-partial-"
    for leftover in root().glob(f"{prefix}*"):
        shutil.rmtree(leftover)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=root()))
    folder.chmod(0o755)
    try:
        with steps.step(title) as step:
            work = Build(name, folder, descriptor, step)
            work.log.unlink(missing_ok=True)
            yield work
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def entry(name: str, inputs: str, title: str, build: Callable[[Build], None]) -> pathlib.Path:
    """The folder `<name>-<inputs>` of the cache, filled by `build` when it is not there yet.

    `title` names the step while it runs. Whatever `build` raises is passed on, and leaves no folder.
    """
    final = root() / f"{name}-{inputs}"
    if not final.is_dir():
        with lock(name) as descriptor:
            if not final.is_dir():
                with workspace(name, title, descriptor) as work:
                    build(work)
                    work.folder.rename(final)
    return final
