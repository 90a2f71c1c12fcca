"""Run a function as several ranks, on Gloo over 127.0.0.1, with a deadline.

Ranks are forked from a server that has imported torch and the trainer once, so that a world starts in a tenth of a
second and not in ten. Whatever happens, no rank outlives the call.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dtj_api.ports import free_ports

_context = mp.get_context("forkserver")


def start_server() -> None:
    """Say what the server imports; it starts with the first rank."""
    _context.set_forkserver_preload(["trainer_preload"])


def run_ranks(world: int, function: Callable[..., Any], *args: Any, env: dict[str, str], deadline: float = 120) -> list:
    """The results of `function(*args)` on ranks 0 .. world - 1.

    Raises:
        AssertionError: a rank raised (its traceback is the message), died, or the deadline passed.
    """
    (port,) = free_ports(1)
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), **env}
    ranks = []
    for rank in range(world):
        mine, theirs = _context.Pipe()
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), **common}
        process = _context.Process(target=_enter, args=(theirs, place, function, args), daemon=True)
        process.start()
        theirs.close()
        ranks.append((process, mine))
    try:
        return _collect(ranks, time.monotonic() + deadline)
    finally:
        for process, mine in ranks:
            process.kill()
            process.join()
            mine.close()


def _collect(ranks: list, until: float) -> list:
    results: dict[int, Any] = {}
    waiting: dict[Connection, int] = {mine: rank for rank, (_, mine) in enumerate(ranks)}
    while waiting:
        ready = wait(list(waiting), timeout=max(until - time.monotonic(), 0))
        assert ready, f"ranks {sorted(waiting.values())} did not answer in time"
        for mine in ready:
            rank = waiting.pop(mine)  # type: ignore[call-overload]
            try:
                ok, value = pickle.loads(mine.recv_bytes())  # type: ignore[union-attr]
            except EOFError:
                ok, value = False, "ended without an answer"
            assert ok, f"rank {rank}: {value}"
            results[rank] = value
    return [results[rank] for rank in range(len(ranks))]


def _enter(answer: Connection, env: dict[str, str], function: Callable[..., Any], args: tuple) -> None:
    os.environ.update(env)
    try:
        message = (True, function(*args))
    except BaseException:
        message = (False, traceback.format_exc())
    answer.send_bytes(pickle.dumps(message))
    # Rank 0 has the store, from which others may still be reading: nobody goes before all have answered.
    answer.poll(None)
    # Not through the interpreter's end: a crashed peer may have left Gloo threads that never join.
    os._exit(0)


def work_env(work: Path, every: int = 0) -> dict[str, str]:
    """The environment of a job that keeps its files in `work` and saves every `every` steps (0: only at the end)."""
    work.mkdir(parents=True, exist_ok=True)
    return {"DTJ_WORK_DIR": str(work), "DTJ_SAVE_EVERY_STEPS": str(every) if every else "", "OMP_NUM_THREADS": "1"}
