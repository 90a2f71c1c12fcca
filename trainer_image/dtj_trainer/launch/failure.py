"""From the exits of a round's ranks to the one failure that is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dtj_api.names import ExitCode
from dtj_api.wire import Failure
from dtj_trainer.launch.errors import read_error
from dtj_trainer.launch.ranks import Rank

LOG_PATIENCE = 0.5
"""Seconds to wait for the last lines of a dead rank: its children may hold the pipe open."""


def failure_of(
    incarnation: int, round: int, ranks: list[Rank], error_file: Callable[[int], Path]
) -> tuple[Failure, str]:
    """The first failure among the ranks of this pod, with its traceback if the rank left one.

    A rank that recorded an error failed when it raised, which may be long before its process was gone.
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
    failure = Failure(
        incarnation=incarnation,
        round=round,
        rank=rank.global_rank,
        local_rank=rank.local_rank,
        at=at,
        exit_code=rank.exit.code,
        message=error.message if error else "",
        log_tail=rank.log.tail(),
        # A rank that says that its configuration is wrong says the same after any restart.
        of_volume=error is not None and error.of_volume,
        user_error=bool(error and error.user_error) or rank.exit.code == ExitCode.BAD_CONFIG,
    )
    return failure, error.trace if error else ""
