"""The launchers' reports, fetched from their pods: progress, failures, the incarnation that they are in.

Polling is the simple truth here: a report is complete by itself, so a lost one costs one interval and nothing else.
Each pod has one small task; a bound on those that fetch at once keeps a thousand pods from starving the API calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace

import aiohttp

from dtj_api import names
from dtj_api.wire import MAX_BODY, Progress, Report, WireError, decode
from dtj_operator.observe.view import Reported

logger = logging.getLogger(__name__)

PARALLEL = 32
TIMEOUT = 2.0

IntervalOf = Callable[[str], float | None]
"""Pod uid to the seconds between two fetches; None: do not ask this pod any more."""


class Reports:
    """The latest report of each pod.

    Args:
        interval_of: how often to ask a pod, asked anew before each fetch.
        on_change: told the pod's uid when a report says something new.
        parallel: fetches at once.
        timeout: seconds for one fetch.
        port: where the launchers serve.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        interval_of: IntervalOf,
        on_change: Callable[[str], None],
        *,
        parallel: int = PARALLEL,
        timeout: float = TIMEOUT,
        port: int = names.METRICS_PORT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._interval_of = interval_of
        self._on_change = on_change
        self._slots = asyncio.Semaphore(parallel)
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._port = port
        self._clock = clock
        self._latest: dict[str, Reported] = {}
        self._unanswered: dict[str, float] = {}
        self._unreadable: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._now: dict[str, asyncio.Event] = {}
        self._session: aiohttp.ClientSession | None = None

    def of(self, uids: list[str]) -> dict[str, Reported]:
        """The latest reports of some pods."""
        return {uid: self._latest[uid] for uid in uids if uid in self._latest}

    def unanswered(self, uids: list[str]) -> dict[str, float]:
        """Of some pods, since when those have answered nothing that did not answer last."""
        return {uid: self._unanswered[uid] for uid in uids if uid in self._unanswered}

    def follow(self, uid: str, ip: str) -> None:
        """Ask this pod from now on. Once more for the same pod changes nothing."""
        if uid not in self._tasks:
            task = asyncio.create_task(self._follow(uid, ip), name=f"reports of pod {uid}")
            self._tasks[uid] = task
            task.add_done_callback(lambda done: self._ended(uid, done))

    def hurry(self, uid: str) -> None:
        """Ask this pod at once, if it is asked at all, and then as often as is said now."""
        if uid in self._now:
            self._now[uid].set()

    def stop(self, uid: str) -> None:
        """Ask this pod no more, but keep what it said last: a pod that has ended still tells why."""
        self._now.pop(uid, None)
        task = self._tasks.pop(uid, None)
        if task:
            task.cancel()

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self.stop(uid)
        self._latest.pop(uid, None)
        self._unanswered.pop(uid, None)
        self._unreadable.discard(uid)

    def accept(self, uid: str, report: Report) -> None:
        """Take a report, fetched or answered to a control message. One of another pod under the same IP is ignored."""
        if report.pod_uid and report.pod_uid != uid:
            return
        self._unanswered.pop(uid, None)
        before = self._latest.get(uid)
        self._latest[uid] = Reported(at=self._clock(), report=report)
        if before is None or _matters(before.report, report):
            self._on_change(uid)

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._tasks.values())
        for uid in list(self._tasks):
            self.stop(uid)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def _follow(self, uid: str, ip: str) -> None:
        now = self._now[uid] = asyncio.Event()
        while (interval := self._interval_of(uid)) is not None:
            now.clear()
            async with self._slots:
                await self._fetch(uid, ip)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(now.wait(), interval * random.uniform(0.9, 1.0))

    async def _fetch(self, uid: str, ip: str) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        host = f"[{ip}]" if ":" in ip else ip
        try:
            async with self._session.get(f"http://{host}:{self._port}/progress") as response:
                self.accept(uid, await read_report(response))
        except (aiohttp.ClientError, TimeoutError, WireError) as error:
            if isinstance(error, WireError):
                # Somebody did answer: whatever that is, it is not stopped.
                self._unanswered.pop(uid, None)
            else:
                self._unanswered.setdefault(uid, self._clock())
            # A pod that comes or goes does not answer for a while; one whose answers cannot be read stays like that.
            new = isinstance(error, WireError) and uid not in self._unreadable
            logger.log(logging.WARNING if new else logging.DEBUG, "no report from pod %s at %s: %s", uid, ip, error)
            if new:
                self._unreadable.add(uid)

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(uid) is task:
            del self._tasks[uid]
            self._now.pop(uid, None)
        if not task.cancelled() and (error := task.exception()):
            logger.error("reports of pod %s ended", uid, exc_info=error)


async def read_report(response: aiohttp.ClientResponse) -> Report:
    """The report in an answer of a launcher.

    Raises:
        WireError: another status than 200, too long, or not a report.
    """
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise WireError(f"the answer is longer than {MAX_BODY} bytes")
    if response.status != 200:
        raise WireError(f"status {response.status}: {body[:200].decode(errors='replace')}")
    return decode(Report, body)


def _matters(before: Report, after: Report) -> bool:
    """Whether a job must be planned again: for progress only that of the pod whose progress is the job's."""
    if after.group_rank == 0 and before.progress != after.progress:
        return True
    empty = Progress()
    return replace(before, progress=empty, paces=()) != replace(after, progress=empty, paces=())
