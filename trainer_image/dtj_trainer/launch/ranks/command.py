"""How the template's command becomes ranks: a run in a preloaded fork where that is the same, else a subprocess.

`python x.py` and `python -m x` of this very interpreter run in a fork that has imported torch already. Anything else
(another interpreter, interpreter flags, a shell) means something that a fork cannot promise to keep.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.machinery import PathFinder
from pathlib import Path

from dtj_trainer.launch.ranks.nested import unnested
from dtj_trainer.launch.settings import BadConfigError


class RunAs(StrEnum):
    """Values of `Report.run_as`."""

    FORK = "fork"
    SUBPROCESS = "subprocess"


@dataclass(frozen=True)
class Command:
    """What each rank runs.

    For a fork `script` or `module` is set, and `argv` is `sys.argv` without its first word; for a subprocess `argv`
    is the whole command line with an absolute program.
    """

    run_as: RunAs
    argv: tuple[str, ...]
    script: str = ""
    module: str = ""
    note: str = ""
    """What is done otherwise than it was written; empty: nothing."""


def parse_command(words: Sequence[str], processes: int | None = None, *, preload: bool = True) -> Command:
    """Read a command line.

    Args:
        words: program and arguments, perhaps behind `--`.
        processes: ranks of this pod; None: as many as GPUs are seen.
        preload: False: never a fork.

    Raises:
        BadConfigError: it is empty, its program, script or module does not exist, or it starts ranks itself.
    """
    if words and words[0] == "--":
        words = words[1:]
    if not words:
        raise BadConfigError("no command: the container `trainer` must have a command, such as [python, train.py]")
    without = unnested(words, processes)
    if without != list(words):
        note = f"dtj starts the ranks: instead of `{shlex.join(words)}` each of them runs `{shlex.join(without)}`"
        return replace(parse_command(without, processes, preload=preload), note=note)
    program = shutil.which(words[0])
    if program is None:
        raise BadConfigError(f"command: {words[0]!r} is not an executable file, nor found on PATH")
    # Every interpreter of one environment lies in one folder; a virtual environment elsewhere is another one.
    same = re.fullmatch(r"python(3(\.\d+)?)?", Path(program).name) and (
        Path(os.path.abspath(program)).parent == Path(os.path.abspath(sys.executable)).parent
    )
    rest = list(words[1:])
    while same and rest and rest[0] == "-u":
        rest = rest[1:]
    fork = None
    if same and len(rest) >= 2 and rest[0] == "-m":
        fork = Command(RunAs.FORK, tuple(rest[2:]), module=_module(rest[1]))
    elif same and rest and not rest[0].startswith("-") and not Path(rest[0]).is_dir():
        fork = Command(RunAs.FORK, tuple(rest[1:]), script=_script(rest[0]))
    if fork is not None and preload:
        return fork
    return Command(RunAs.SUBPROCESS, (os.path.abspath(program), *words[1:]))


def _module(name: str) -> str:
    # Only the first part: to find a submodule, its package would be imported here, in the parent of all ranks. And in
    # the working directory first, as `-m` does, where a launcher that was started as a file does not look by itself.
    first = name.partition(".")[0]
    known = first in sys.builtin_module_names or PathFinder.find_spec(first, [str(Path.cwd()), *sys.path])
    if not name or not known:
        raise BadConfigError(f"command: no module named {name!r} (working directory {Path.cwd()})")
    return name


def _script(path: str) -> str:
    if not Path(path).is_file():
        raise BadConfigError(f"command: no file {path!r} (working directory {Path.cwd()})")
    return path
