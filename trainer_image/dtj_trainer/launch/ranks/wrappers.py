"""Programs that run the command which stands behind their own words: what it is, as far as words tell."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from dtj_trainer.launch.ranks.shell_text import BEFORE, SHELLS

WRAPPERS = (
    {
        "env",
        "timeout",
        "nice",
        "ionice",
        "stdbuf",
        "setsid",
        "numactl",
        "taskset",
        "chrt",
        "prlimit",
        "setpriv",
        "unshare",
    }
    | {
        "tini",
        "dumb-init",
        "catatonit",
        "sudo",
        "doas",
        "gosu",
        "su-exec",
        "runuser",
        "chroot",
        "flock",
        "xargs",
        "parallel",
    }
    | {
        "strace",
        "ltrace",
        "perf",
        "watch",
        "script",
        "su",
        "uv",
        "uvx",
        "conda",
        "mamba",
        "micromamba",
        "poetry",
        "pipenv",
    }
    | {"pdm", "pixi", "hatch", "rye", "nsys", "py-spy", "dotenv"}
)
_OF_PYTHON = {"conda", "mamba", "poetry", "pipenv", "pdm", "hatch", "dotenv"}
"""Scripts of Python: nobody looks at what these start as it runs, so a value of theirs must hide nothing."""
_NAMED = {"-n", "--name", "-p", "--prefix", "-e", "--env", "-C", "--directory", "--project", "-f", "--file"}
"""Their options whose value may be called as some program is."""
_OF_ONE_WORD = {"watch", "parallel"}
_OF_TEXT = {"su", "runuser", "script", "flock"} | _OF_ONE_WORD
"""Those that may be given a text for a shell in place of words: behind `-c`, or as a word with blanks."""
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


def is_assignment(word: str) -> bool:
    """Whether a word gives a value to a variable, in front of a command."""
    return _ASSIGNMENT.fullmatch(word) is not None


def is_python(program: str) -> bool:
    """Whether a program is called as an interpreter of Python 3 is."""
    return _PYTHON.fullmatch(Path(program).name) is not None


def behind(words: Sequence[str], starts_ranks: Callable[[Sequence[str]], object]) -> list[str]:
    """The command behind assignments, words of a shell and wrappers; empty: none is found.

    Args:
        words: a command.
        starts_ranks: whether words are such a command.
    """
    left = list(words)
    while left:
        name = Path(left[0]).name
        if is_assignment(left[0]):
            left = left[1:]
        elif name in BEFORE:
            left = left[1:]
            while left and left[0][:1] == "-":
                left = left[2 if left[0] == "-a" else 1 :]
        elif name in WRAPPERS and text_of(left) is None:
            given = _split(left[1:]) if name == "env" else left[1:]
            # Its own words have values that only it knows: the first one that could run ranks is the command.
            values = {at + 1 for at, word in enumerate(given) if name in _OF_PYTHON and word in _NAMED}
            places = (at for at in range(len(given)) if at not in values)
            left = next((given[at:] for at in places if _may_run(given[at:], starts_ranks)), [])
        else:
            break
    return left


def text_of(words: Sequence[str]) -> str | None:
    """The text that a shell's `eval`, or a wrapper, gives to a shell; None: there is none."""
    if not words:
        return None
    name, rest = Path(words[0]).name, list(words[1:])
    if name == "eval":
        return " ".join(rest)
    if name not in _OF_TEXT:
        return None
    for place, word in enumerate(rest):
        if word in ("-c", "--command") and place + 1 < len(rest):
            return rest[place + 1]
        if word.startswith("--command="):
            return word.partition("=")[2]
    return next((word for word in rest if " " in word), None) if name in _OF_ONE_WORD else None


def _split(words: Sequence[str]) -> list[str]:
    """The words of `env`, with those that `-S` gives as one."""
    for place, word in enumerate(words):
        found = re.fullmatch(r"-[a-zA-Z0]*?S(.*)|--split-string(?:=(.*))?", word, re.DOTALL)
        if found:
            rest = list(words[place + 1 :])
            text = found[1] or found[2] or (rest.pop(0) if rest else "")
            try:
                return [*words[:place], *shlex.split(text), *rest]
            except ValueError:
                return list(words)
        if word[:1] != "-" and not is_assignment(word):
            break
    return list(words)


def _may_run(words: Sequence[str], starts_ranks: Callable[[Sequence[str]], object]) -> bool:
    """Whether a command begins here that starts ranks, or an interpreter, a script of Python or another program.

    What stands behind that is an argument, as in `timeout 60 tune --launcher torchrun`. A value that is called as some
    program is hides what follows: that is found as it runs.
    """
    name = Path(words[0]).name
    known = name in SHELLS | WRAPPERS | BEFORE or is_python(name) or name == "eval" or name.endswith(".py")
    return bool(starts_ranks(words) or known or shutil.which(words[0]))
