"""From the exits of a round's ranks to the one failure that is reported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dtj_api.names import ExitCode
from dtj_api.wire import Failure
from dtj_trainer.launch.ranks.errors import (
    MAX_TEXT,
    OUT_OF_MEMORY,
    RankError,
    blames_the_world,
    is_wrong_path,
    printed_error,
    read_error,
)
from dtj_trainer.launch.ranks.ranks import Rank

LOG_PATIENCE = 0.5
"""Seconds to wait for the last lines of a dead rank: its children may hold the pipe open."""
UNCAUGHT = 1
"""The interpreter's exit code after an exception that nobody caught."""
USAGE = 2
"""The exit code of a command that was called the wrong way: argparse's, a shell's, the interpreter's."""
LAST_OF_PROGRAMS = 125
"""The highest exit code that is a program's own: above it a shell tells what it could not run, or a signal."""
TRY_AGAIN = frozenset({os.EX_UNAVAILABLE, os.EX_TEMPFAIL, 124})
"""Exit codes that by convention ask for another try: a service is not there, it is of now, and that of `timeout`."""


def failure_of(
    incarnation: int,
    round: int,
    step: int | None,
    comparable: bool,
    ranks: list[Rank],
    error_file: Callable[[int], Path],
) -> tuple[Failure, str]:
    """The first failure among the ranks of this pod, with its traceback if the rank left one.

    A rank that recorded an error failed when it raised, which may be long before its process was gone.

    Args:
        incarnation, round: that ended.
        step: the last one that a rank of this pod reported in the round.
        comparable: it says something of the script if the same comes again: no rank of this pod has made a step in the
            round, also of those that report none, and nothing else was in their way.
        ranks: of this pod.
        error_file: local rank to where it recorded its error.
    """
    failed = []
    for rank in ranks:
        if rank.exit is None or rank.exit.code == 0:
            continue
        error = read_error(error_file(rank.local_rank)) if rank.exit.code > 0 else None
        at = error.at if error and error.at is not None else rank.exit.at
        failed.append((at, rank, error))
    at, rank, error = min(failed, key=lambda one: one[0])
    assert rank.exit is not None
    rank.log.ended.wait(LOG_PATIENCE)
    code, tail = rank.exit.code, rank.log.tail()
    if error is None and code == UNCAUGHT:
        error = printed_error(rank.log.last_lines())
    message = error.message if error else ""
    worlds = blames_the_world(rank.log.last_lines())
    # Who says that the configuration is wrong says the same after any restart.
    wrong = code == ExitCode.BAD_CONFIG or (step is None and code == USAGE and not worlds)
    if wrong and not message:
        message = next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), f"exit code {code}")
    failure = Failure(
        incarnation=incarnation,
        round=round,
        rank=rank.global_rank,
        local_rank=rank.local_rank,
        at=at,
        exit_code=code,
        message=message[:MAX_TEXT],
        log_tail=tail,
        of_volume=error is not None and error.of_volume,
        user_error=wrong or bool(error and error.user_error) or (step is None and is_wrong_path(message)),
        step=step,
        if_repeated=_if_repeated(code, error, worlds) if comparable else "",
    )
    return failure, error.trace if error else ""


def _if_repeated(code: int, error: RankError | None, worlds: bool) -> str:
    """What is the user's error if it comes again before the first step: a restart has not mended it then."""
    if error is not None:
        return OUT_OF_MEMORY if error.of_memory else ""
    own = 0 < code <= LAST_OF_PROGRAMS and code not in TRY_AGAIN
    return f"exit code {code}" if own and not worlds else ""
