"""From the exits of a round's ranks to the one failure that is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dtj_api.names import ExitCode
from dtj_api.wire import Failure
from dtj_trainer.launch.ranks.errors import MAX_TEXT, is_wrong_path, printed_error, read_error
from dtj_trainer.launch.ranks.ranks import Rank

LOG_PATIENCE = 0.5
"""Seconds to wait for the last lines of a dead rank: its children may hold the pipe open."""


UNCAUGHT = 1
"""The interpreter's exit code after an exception that nobody caught."""
USAGE = 2
"""The exit code of a command that was called the wrong way: argparse's, a shell's, the interpreter's."""


def failure_of(
    incarnation: int, round: int, step: int | None, ranks: list[Rank], error_file: Callable[[int], Path]
) -> tuple[Failure, str]:
    """The first failure among the ranks of this pod, with its traceback if the rank left one.

    A rank that recorded an error failed when it raised, which may be long before its process was gone.

    Args:
        incarnation, round: that ended.
        step: the last one that a rank of this pod reported in the round.
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
    # Who says that the configuration is wrong says the same after any restart.
    wrong = code == ExitCode.BAD_CONFIG or (step is None and code == USAGE)
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
    )
    return failure, error.trace if error else ""
