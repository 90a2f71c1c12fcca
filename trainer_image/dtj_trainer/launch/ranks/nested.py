"""Commands that start ranks themselves, such as `torchrun train.py`: each rank of ours would start a world of its own.

Two trainings of one rank each would both succeed, at twice the price. So torchrun is left out where all that it says is
the job's to say, and everything else of the kind is refused with the line to write. Shells are looked into as well.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from dtj_trainer.launch.ranks.shell_text import SHELLS, behind_options, commands_of
from dtj_trainer.launch.ranks.wrappers import behind, is_assignment, is_python, text_of
from dtj_trainer.launch.settings import BadConfigError

_MODULES = {"torch.distributed.run": "torchrun", "torch.distributed.launch": "torch.distributed.launch"}
_FOREIGN_MODULES = {"accelerate.commands.launch", "deepspeed.launcher.runner", "horovod.runner.launch"}
_SCRIPTS = {"torchrun", "accelerate", "deepspeed", "horovodrun"}
"""Commands of the kind that are scripts of Python."""
_FOREIGN = {"deepspeed", "mpirun", "mpiexec", "orterun", "prterun", "horovodrun"}
_QUESTIONS = (["-h"], ["--help"], ["-V"], ["--version"])
"""With which nothing is started."""
_OF_THE_JOB = frozenset(
    {"nnodes", "node_rank", "standalone", "master_addr", "master_port", "local_addr", "max_restarts", "role"}
    | {"rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf", "monitor_interval", "event_log_handler"}
    | {"log_dir", "redirects", "tee", "start_method", "use_env", "nproc_per_node"}
    | {"module", "no_python", "training_script", "training_script_args"}
)
"""Options of torchrun that the job decides, or that say what to run. Any other one changes the ranks."""
_MAX_SCRIPT = 256 * 1024
_MAX_SHELLS = 4
"""Shells within each other that are looked into."""


def unnested(words: Sequence[str], processes: int | None) -> list[str]:
    """The command without the torchrun in front of it; the same words where there is none.

    Args:
        words: a command line.
        processes: ranks of this pod; None: as many as GPUs are seen.

    Raises:
        BadConfigError: it starts ranks itself, and cannot be taken apart.
    """
    words = list(words)
    inner = _behind(words)
    if inner and (starter := _starter(inner)):
        return _apart(inner, starter, processes, plain=inner == words)
    text, one = _shell_text(inner)
    if text is None:
        return words
    commands = _commands(text)
    found = next(((each, starter) for each in _all_within(commands) if (starter := _starter(each))), None)
    if found is None:
        return words
    one = one and inner == words and found[0] in commands
    # Only what is one command and nothing else means the same without its shell.
    plain = one and len(commands) == 1 and not re.search(r"[$`*?\[\]<>~&|;\n]", text.strip())
    return _apart(*found, processes, plain=plain and not any(map(is_assignment, shlex.split(text)[:1])))


def refuse_nested(words: Sequence[str], processes: int | None) -> None:
    """Refuse a process that starts ranks itself, by its words.

    Raises:
        BadConfigError: it does; with the line to write.
    """
    if starter := _starter(words):
        _apart(words, starter, processes, plain=False)


def _behind(words: Sequence[str]) -> list[str]:
    return behind(words, _starter)


def _all_within(commands: Sequence[list[str]], depth: int = 1) -> Iterator[list[str]]:
    """Commands, and those of the shells that they start."""
    for each in commands:
        yield each
        text = _shell_text(each)[0] if depth < _MAX_SHELLS else None
        if text is not None:
            yield from _all_within(_commands(text), depth + 1)


def _starter(words: Sequence[str]) -> str:
    """The name of what starts ranks; empty: this command does not."""
    name, given = _named(words)
    return name if given[:1] not in _QUESTIONS else ""


def _named(words: Sequence[str]) -> tuple[str, list[str]]:
    """The name of a command of the kind, and what it is given; empty: it is none."""
    if not words:
        return "", []
    program, rest = Path(words[0]).name, list(words[1:])
    if program == "torchrun" or program in _FOREIGN:
        return program, rest
    if program == "accelerate" and rest[:1] == ["launch"]:
        return "accelerate launch", rest[1:]
    if is_python(program):
        rest = _one_option_a_word(rest)
        while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
            rest = rest[2 if rest[0] in ("-X", "-W") else 1 :]
        if rest and rest[0][:1] != "-":
            # The script that is such a command, as by `python $(which torchrun)`.
            script = Path(rest[0]).name
            return _named([script, *rest[1:]]) if script in _SCRIPTS else ("", [])
        module = rest[1] if rest[:1] == ["-m"] and len(rest) > 1 else ""
        if module == "accelerate" and rest[2:3] == ["launch"]:
            return module, rest[3:]
        if module in _FOREIGN_MODULES:
            return module, rest[2:]
        return _MODULES.get(module, ""), rest[2:]
    return "", []


def _one_option_a_word(rest: list[str]) -> list[str]:
    """`-um` as `-u -m`: Python takes options of one letter together."""
    for place, word in enumerate(rest):
        if word in ("-m", "-c") or word[:1] != "-":
            break
        if found := re.fullmatch(r"-([bBdEiIOPqsSuvx]+)([mc])", word):
            return [*rest[:place], f"-{found[1]}", f"-{found[2]}", *rest[place + 1 :]]
    return rest


def _shell_text(words: Sequence[str]) -> tuple[str | None, bool]:
    """What a shell is to run, and whether it is one text given with `-c`; None: it is no shell."""
    if not words:
        return None, False
    if (text := text_of(words)) is not None:
        return text, False
    if Path(words[0]).name not in SHELLS:
        return (_read(words[0]) if _is_shell_script(words[0]) else None), False
    given, rest = behind_options(words[1:])
    if given:
        return (rest[0] if rest else ""), len(rest) == 1
    return (_read(rest[0]) if rest else None), False


def _is_shell_script(program: str) -> bool:
    path = shutil.which(program)
    text = _read(path) if path else None
    return text is not None and bool(re.match(r"#!.*\b(ba|da|z|k)?sh\b", text))


def _read(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_SCRIPT).decode()
    except (OSError, UnicodeDecodeError):
        return None


def _commands(text: str) -> list[list[str]]:
    """The commands of a shell's text, without what stands before them."""
    return [inner for each in commands_of(text) if (inner := _behind(each))]


def _apart(words: Sequence[str], starter: str, processes: int | None, *, plain: bool) -> list[str]:
    if starter not in _MODULES.values():
        _refuse(starter, _script_of(words[1:]))
    program, rest = words[0], list(words[1:])
    if is_python(program):
        rest = _one_option_a_word(rest)
        python, scripts = program, [place for place, word in enumerate(rest) if Path(word).name in _SCRIPTS]
        rest = (
            rest[rest.index("-m") + 2 :] if "-m" in rest[: scripts[0] if scripts else None] else rest[scripts[0] + 1 :]
        )
    else:
        path = shutil.which(program)
        beside = Path(path).parent / "python" if path else Path()
        python = str(beside) if path and beside.is_file() else sys.executable
    try:
        options = _parse(rest, starter)
    except BadConfigError:
        if plain:
            raise
        # As behind `xargs`, which adds words.
        _refuse(starter, _script_of(rest))
    command = [options.training_script, *options.training_script_args]
    if options.module:
        command = [python, "-m", *command]
    elif not options.no_python:
        command = [python, *command]
    if not plain:
        _refuse(starter, command)
    if starter == "torch.distributed.launch" and "--use-env" not in rest and "--use_env" not in rest:
        _refuse(starter, command, "; the script finds its local rank in LOCAL_RANK, there is no --local-rank")
    if changed := _changed(options):
        _refuse(starter, command, f"; what --{changed.replace('_', '-')} asks for is not there")
    wanted = str(options.nproc_per_node)
    if wanted.isdecimal() and processes is not None and int(wanted) != processes and _given(rest, "nproc"):
        _refuse(starter, command, f" and workers.processesPerWorker: {wanted}, which is {processes} now")
    return command


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise BadConfigError(f"command: torchrun: {message}")

    def print_help(self, file: object = None) -> NoReturn:
        """Asked for behind other options; argparse would leave the process then, as if all was done."""
        self.error("--help starts no training")


def _parse(rest: list[str], starter: str) -> argparse.Namespace:
    # Torch knows its own options; it is imported a moment later anyway.
    try:
        from torch.distributed.run import get_args_parser
    except ImportError:
        # It is of another interpreter than ours.
        _refuse(starter, _script_of(rest))

    parser = get_args_parser()
    parser.__class__ = _Parser
    given = [word for word in rest if word not in ("--use-env", "--use_env")] if "launch" in starter else rest
    return parser.parse_args(given)


def _changed(options: argparse.Namespace) -> str:
    """An option that is none of the job's, and was given; empty: there is none."""
    plain = vars(_parse(["x"], "torchrun"))
    return next((name for name, value in vars(options).items() if name not in _OF_THE_JOB and value != plain[name]), "")


def _given(rest: Sequence[str], option: str) -> bool:
    return any(word.startswith((f"--{option}_per", f"--{option}-per")) for word in rest)


def _script_of(rest: Sequence[str]) -> list[str]:
    """The command that is started, as far as one can tell from outside."""
    at = next((place for place, word in enumerate(rest) if word.endswith(".py")), None)
    return ["python", *([os.fspath(word) for word in rest[at:]] if at is not None else ["train.py"])]


def _refuse(starter: str, command: Sequence[str], more: str = "") -> NoReturn:
    line = ", ".join(word if re.fullmatch(r"[\w./-]+", word) else f'"{word}"' for word in command)
    raise BadConfigError(
        f"command: {starter} starts ranks itself, and dtj has done so already: each rank would train in a world of its "
        f"own; write command: [{line}]{more}"
    )
