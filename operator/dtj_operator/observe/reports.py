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
from dtj_api.wire import MAX_BODY, Progress, Report, WireError, address, decode
from dtj_operator.connections import Connections
from dtj_operator.observe.view import Reported

logger = logging.getLogger(__name__)

PARALLEL, SHARE = 512, 32
"""Fetches at once, and of these from the pods of one job: others need not wait for its pods that do not answer."""
TIMEOUT = 2.0
FULL_EVERY = 4
"""Who did not answer is given a quarter of the time, and all of it at each fourth try: it may be slow and no more."""

IntervalOf = Callable[[str], float | None]
"""Pod uid to the seconds between two fetches; None: do not ask this pod any more."""


class Reports:
    """The latest report of each pod.

    Args:
        interval_of: how often to ask a pod, asked anew before each fetch.
        on_change: told the pod's uid when a report says something new.
        parallel: fetches at once.
        share: of these, from the pods of one job.
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
        share: int = SHARE,
        timeout: float = TIMEOUT,
        port: int = names.METRICS_PORT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._interval_of = interval_of
        self._on_change = on_change
        self._connections = Connections(parallel, share)
        self._timeout = timeout
        self._port = port
        self._clock = clock
        self._latest: dict[str, Reported] = {}
        self._unanswered: dict[str, float] = {}
        self._in_vain: dict[str, int] = {}
        self._unreadable: dict[str, bool] = {}
        """Pods that have answered with what is no report of theirs, and whether they did so last."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._now: dict[str, asyncio.Event] = {}
        self._session: aiohttp.ClientSession | None = None

    def of(self, uids: list[str]) -> dict[str, Reported]:
        """The latest reports of some pods."""
        return {uid: self._latest[uid] for uid in uids if uid in self._latest}

    def unanswered(self, uids: list[str]) -> dict[str, float]:
        """Of some pods, since when those have answered nothing that did not answer last."""
        return {uid: self._unanswered[uid] for uid in uids if uid in self._unanswered}

    def unreadable(self, uids: list[str]) -> tuple[str, ...]:
        """Of some pods, those whose last answer was no report of theirs."""
        return tuple(uid for uid in uids if self._unreadable.get(uid))

    def follow(self, uid: str, ip: str, job: str) -> None:
        """Ask this pod of a job from now on. Once more for the same pod changes nothing."""
        if uid not in self._tasks:
            task = asyncio.create_task(self._follow(uid, ip, job), name=f"reports of pod {uid}")
            self._tasks[uid] = task
            task.add_done_callback(lambda done: self._ended(uid, done))

    def hurry(self, uid: str) -> None:
        """Ask this pod at once, if it is asked at all, and then as often as is said now."""
        if uid in self._now:
            self._now[uid].set()

    def stop(self, uid: str) -> None:
        """Ask this pod no more, but keep what it said last: a pod that has ended still tells why.

        Of one that is not asked there is no silence either: who leads again later has to ask first.
        """
        self._not_asked(uid)
        self._now.pop(uid, None)
        task = self._tasks.pop(uid, None)
        if task:
            task.cancel()

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self.stop(uid)
        self._latest.pop(uid, None)
        self._unreadable.pop(uid, None)

    def accept(self, uid: str, report: Report) -> None:
        """Take a report, fetched or answered to a control message.

        One of another pod under the same IP is ignored, and so is one that does not say whose it is.
        """
        if report.pod_uid != uid:
            return
        was_silent = uid in self._unanswered or self._unreadable.get(uid, False)
        self._answered(uid)
        if was_silent and uid in self._unreadable:
            self._unreadable[uid] = False
        before = self._latest.get(uid)
        self._latest[uid] = Reported(at=self._clock(), report=report)
        if before is None or was_silent or _matters(before.report, report):
            self._on_change(uid)

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._tasks.values())
        for uid in list(self._tasks):
            self.stop(uid)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    def _answered(self, uid: str) -> None:
        self._unanswered.pop(uid, None)
        self._in_vain.pop(uid, None)

    def _not_asked(self, uid: str) -> None:
        self._answered(uid)
        if uid in self._unreadable:
            self._unreadable[uid] = False

    async def _follow(self, uid: str, ip: str, job: str) -> None:
        now = self._now[uid] = asyncio.Event()
        while (interval := self._interval_of(uid)) is not None:
            now.clear()
            async with self._connections.connection(job):
                await self._fetch(uid, ip)
            # Not `wait_for`: of a cancellation in the moment of the event it makes an event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval * random.uniform(0.9, 1.0)):
                    await now.wait()
        self._not_asked(uid)

    async def _fetch(self, uid: str, ip: str) -> None:
        if self._session is None:
            self._session = launcher_session()
        try:
            async with asyncio.timeout(self._deadline(uid)):
                url = f"http://{address(ip, self._port)}/progress"
                async with self._session.get(url, allow_redirects=False) as response:
                    report = await read_report(response)
            if report.pod_uid != uid:
                raise WireError(f"the report is that of pod {report.pod_uid[:64]!r}")
            self.accept(uid, report)
        except (aiohttp.ClientError, TimeoutError, WireError) as error:
            if isinstance(error, WireError):
                # Somebody did answer: whatever that is, it is not stopped.
                self._answered(uid)
            else:
                if uid not in self._unanswered:
                    # Whoever falls silent says nothing that would wake its job.
                    self._unanswered[uid] = self._clock()
                    self._on_change(uid)
                self._in_vain[uid] = self._in_vain.get(uid, 0) + 1
            # A pod that comes or goes does not answer for a while; one whose answers cannot be read stays like that.
            new = isinstance(error, WireError) and uid not in self._unreadable
            logger.log(logging.WARNING if new else logging.DEBUG, "no report from pod %s at %s: %s", uid, ip, error)
            if isinstance(error, WireError):
                was_so, self._unreadable[uid] = self._unreadable.get(uid, False), True
                if not was_so:
                    self._on_change(uid)

    def _deadline(self, uid: str) -> float:
        return self._timeout if self._in_vain.get(uid, 0) % FULL_EVERY == 0 else self._timeout / FULL_EVERY

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(uid) is task:
            del self._tasks[uid]
            self._now.pop(uid, None)
        if not task.cancelled() and (error := task.exception()):
            logger.error("reports of pod %s ended", uid, exc_info=error)


def launcher_session() -> aiohttp.ClientSession:
    """A session to ask launchers by, who may be anybody: nothing is kept of them, nothing unpacked for them.

    Each request takes `allow_redirects=False` beside it: whoever may run a pod would else choose whom we ask. Those who
    ask bound how many they are: the connector's own bound of 100 would take the time of a request for waiting in line.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def read_report(response: aiohttp.ClientResponse) -> Report:
    """The report in an answer of a launcher.

    Raises:
        WireError: another status than 200, packed, too long, or not a report.
    """
    if packed := response.headers.get("Content-Encoding"):
        raise WireError(f"the answer is packed ({packed[:40]}), which it may not be")
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
