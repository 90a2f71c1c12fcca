"""What a leader does: workers empty the queue, and every job is looked at now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from dtj_operator.act.executor import ActError
from dtj_operator.kube import errors
from dtj_operator.leader import LeadershipLost
from dtj_operator.observe.indexer import Key
from dtj_operator.queue import Shutdown, WorkQueue
from dtj_operator.reconcile import AT_ONCE, Reconciler, Unfinished
from dtj_operator.telemetry.runtime import RuntimeMetrics

logger = logging.getLogger(__name__)

PASSING_DELAY = 15.0
"""Most seconds until a job is looked at again that failed by a fault of the API server, which passes by itself."""


class Work:
    """Reconciles what the queue names.

    Args:
        queue: keys of jobs to look at.
        reconciler: looks at one.
        keys: all jobs, for the look now and then.
        metrics: told of each reconcile.
        workers: jobs at once.
        resync_seconds: how often every job is looked at, whatever the watches say.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        reconciler: Reconciler,
        keys: Callable[[], Iterable[Key]],
        metrics: RuntimeMetrics,
        *,
        workers: int,
        resync_seconds: float,
    ) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._keys = keys
        self._metrics = metrics
        self._workers = workers
        self._resync_seconds = resync_seconds

    async def run(self) -> None:
        """Look at every job, then at those that the queue names, until that is shut down."""
        for key in self._keys():
            self._queue.add(key)
        tasks = [asyncio.create_task(self._worker(), name=f"worker {i}") for i in range(self._workers)]
        resync = asyncio.create_task(self._resync(), name="resync")
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, resync):
                task.cancel()
            await asyncio.gather(*tasks, resync, return_exceptions=True)

    async def reconcile(self, key: Key) -> None:
        """Look at one job that the queue gave, and say when to do so again."""
        started, result = time.monotonic(), "error"
        self._metrics.reconcile_began()
        try:
            after = await self._reconciler.reconcile(key)
            self._queue.forget(key)
            result = "success" if after is None else "requeue" if after == AT_ONCE else "requeue_after"
            if after is not None:
                self._queue.add_after(key, after)
        except errors.Conflict as conflict:
            result = "requeue"
            self._queue.add_failed(key)
            logger.debug("changed since it was observed: %s", conflict, extra=_about(key))
        except LeadershipLost:
            # The next leader looks at every job.
            self._queue.add_failed(key)
        except (errors.KubeError, Unfinished) as error:
            delay = self._queue.add_failed(key)
            # A deadline or a message that is due waits for no back-off: of two times the queue keeps the earlier.
            if (due := _due(error)) is not None:
                delay = min(delay, due)
                self._queue.add_after(key, delay)
            logger.warning("%s; again in %.1f s", error, delay, extra=_about(key))
        except Exception:
            # A defect that one job brings out must not keep the others from being served.
            delay = self._queue.add_failed(key)
            logger.exception("reconcile failed; again in %.1f s", delay, extra=_about(key))
        finally:
            self._queue.done(key)
            self._metrics.reconcile_ended(result, time.monotonic() - started)

    async def _worker(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except Shutdown:
                return
            await self.reconcile(key)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._resync_seconds)
            keys = list(self._keys())
            self._queue.keep(keys)
            for key in keys:
                self._queue.add(key)


def _due(error: errors.KubeError | Unfinished) -> float | None:
    """Seconds after which to look again whatever the back-off says."""
    due = error.requeue_after if isinstance(error, Unfinished) else None
    if _passing(error.__cause__ if isinstance(error, Unfinished) else error):
        return PASSING_DELAY if due is None else min(due, PASSING_DELAY)
    return due


def _passing(error: BaseException | None) -> bool:
    failures = error.failures if isinstance(error, ActError) else (error,)
    return any(isinstance(each, errors.KubeError) and each.passing for each in failures)


def _about(key: Key) -> dict[str, str]:
    return {"job": "/".join(key)}
