"""A hostile tenant beside an honest job, against a real API server: one story, in any size."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from hostile import (
    HONEST_IP,
    PATIENCE,
    HonestLauncher,
    deep,
    hostile_launchers,
    large,
    odd_manifests,
    post,
    quantile,
    run_pod,
)
from operator_process import OperatorProcess, a_job, created, phase_is, until

from dtj_api import names
from dtj_operator.kube import errors
from dtj_operator.kube.client import HttpKubeClient, Object
from dtj_operator.kube.resources import JOBS

JOBS_OF_LAUNCHERS = 10
"""Launchers of one job."""


@dataclass(frozen=True)
class Figures:
    """What the operator needed."""

    memory: int
    """Bytes, the most at any time."""
    lag: float
    """Seconds, p99."""
    reconcile: float
    """Seconds, p99 of all jobs, hostile ones included."""
    honest: float
    """Seconds, p99: from the answer that tells of the honest rank's death to its count in the status."""
    accepted: int
    """Odd manifests that the API server took."""

    def __str__(self) -> str:
        return (
            f"memory {self.memory / 2**20:.0f} MiB, loop lag p99 <= {self.lag:g} s, honest job p99 "
            f"{self.honest:.2f} s, all reconciles p99 <= {self.reconcile:g} s, {self.accepted} odd manifests accepted"
        )


async def tell_it(
    client: HttpKubeClient,
    namespace: str,
    start: Callable[[], OperatorProcess],
    *,
    odd: int,
    heavy: int,
    launchers: int,
    kills: int,
) -> Figures:
    """Put everything into the namespace, kill the honest rank now and then, and start another operator at the end.

    Args:
        client: with all rights.
        namespace: an empty one.
        start: starts an operator for it.
        odd: odd manifests.
        heavy: of 1.4 MB, and as many of 9,000 levels.
        launchers: hostile ones.
        kills: times that the honest rank dies.
    """
    operator = start()
    await operator.leads()
    accepted = 0
    addresses = [f"127.0.1.{number + 1}" for number in range(launchers)]
    async with HonestLauncher() as honest, hostile_launchers(addresses):
        await created(client, namespace, a_job("honest", 1, failurePolicy={"maxRestarts": 10 * (kills + 1)}))
        uid = await run_pod(client, namespace, names.worker_name("honest", 0), HONEST_IP)
        honest.report = replace(honest.report, pod_uid=uid)
        await run_pod(client, namespace, names.store_name("honest"), HONEST_IP)
        await phase_is(client, namespace, "honest", "Running")
        for first in range(0, launchers, JOBS_OF_LAUNCHERS):
            theirs = addresses[first : first + JOBS_OF_LAUNCHERS]
            job = f"hostile-{first}"
            await created(client, namespace, a_job(job, len(theirs)))
            for index, address in enumerate(theirs):
                await run_pod(client, namespace, names.worker_name(job, index), address)
            await run_pod(client, namespace, names.store_name(job), theirs[0])
        for manifest in odd_manifests(odd):
            with contextlib.suppress(errors.Invalid, errors.BadRequest, errors.Forbidden):
                await created(client, namespace, manifest)
                accepted += 1
        for number in range(heavy):
            await post(client, namespace, large(f"large-{number}"))
            await post(client, namespace, deep(f"deep-{number}"))
        waits = [await _killed(client, namespace, honest, number + 1) for number in range(kills)]
        await _all_are_answered(client, namespace, heavy)
        page = await operator.metrics()
        assert operator.process.poll() is None
        assert "Traceback" not in operator.text()
        figures = Figures(
            operator.peak_memory(),
            quantile(page, "dtj_operator_event_loop_lag_seconds", 0.99),
            quantile(page, "controller_runtime_reconcile_time_seconds", 0.99),
            sorted(waits)[int(0.99 * len(waits))],
            accepted,
        )
        assert operator.end(signal.SIGTERM) == 0
        second = start()
        await second.leads()
        await _killed(client, namespace, honest, kills + 1)
        return replace(figures, memory=max(figures.memory, second.peak_memory()))


async def _killed(client: HttpKubeClient, namespace: str, honest: HonestLauncher, restarts: int) -> float:
    """Kill the rank, and see that death counted and the job train again.

    The answer is the seconds from the moment at which the operator was told to the count, a look of 50 ms included.
    """

    async def status() -> Object:
        found: Object = (await client.get(JOBS, namespace, "honest"))["status"]
        return found

    async def counted() -> bool:
        return bool((await status())["restarts"]["counted"] == restarts)

    async def trains() -> bool:
        return bool((await status())["phase"] == "Running")

    honest.kill_rank()
    await until(counted, patience=PATIENCE)
    seen = asyncio.get_running_loop().time()
    await until(trains, patience=PATIENCE)
    assert honest.told is not None
    return seen - honest.told.result()


async def _all_are_answered(client: HttpKubeClient, namespace: str, heavy: int) -> None:
    """Each job that is too large or too deep says so."""

    async def admitted(name: str) -> str:
        job: Object = await client.get(JOBS, namespace, name)
        conditions = (job.get("status") or {}).get("conditions") or []
        return "".join(each["message"] for each in conditions if each["type"] == names.Condition.ADMITTED)

    for number in range(heavy):
        for name, words in ((f"large-{number}", "bytes of JSON, more than"), (f"deep-{number}", "levels of objects")):

            async def told(name: str = name, words: str = words) -> bool:
                return words in await admitted(name)

            await until(told, patience=PATIENCE)
