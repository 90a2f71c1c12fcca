"""The process: watches and timers feed one queue, workers empty it, a lease says who may.

A standby runs everything but what writes and what talks to pods, so that it takes over with warm caches. An API server
that is away ends nothing: at the start it is waited for, later the lease is lost and stood for again. A part that ends
by a defect ends the process: starting anew is cheap, since nothing is remembered but what the API server holds. SIGTERM
ends it in order: no new work, what is in flight finishes, the lease is given back, pods are left alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

from dtj_operator.act.control import Control
from dtj_operator.act.events import EventPoster
from dtj_operator.act.executor import Executor
from dtj_operator.act.links import Links
from dtj_operator.act.progress import ProgressShare
from dtj_operator.config import Config
from dtj_operator.health import HealthServer
from dtj_operator.kopf_watch import Ear
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient
from dtj_operator.kube.credentials import Credentials
from dtj_operator.leader import LeaderElector
from dtj_operator.leadership import Leadership, exit_at_once
from dtj_operator.observe.indexer import Key
from dtj_operator.observe.view import Installation
from dtj_operator.observe.world import World
from dtj_operator.queue import WorkQueue
from dtj_operator.reconcile import Reconciler
from dtj_operator.render import Site
from dtj_operator.telemetry.access import Access
from dtj_operator.telemetry.certificate import Certificate
from dtj_operator.telemetry.jobs import JobCollector
from dtj_operator.telemetry.page import PageServer
from dtj_operator.telemetry.record import Recorder
from dtj_operator.telemetry.runtime import RuntimeMetrics
from dtj_operator.watches import PartEnded, Watches
from dtj_operator.work import Work

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 15.0
EVENT_SECONDS = 3.0
LAG_PERIOD = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0
"""Seconds between two tries to reach the API server at the start."""


async def _admitted() -> None:
    """Nobody asks the API server anything before the first list."""


class Operator:
    """One operator process. Make it within the event loop, then `run` it once.

    Args:
        config: its settings.
        credentials: for kopf.
        client: for everything else.
        registry: where its metrics go.
        metrics: made on that registry; also the client's observer.
        check: sees that the API server takes us; a KubeError that it raises is waited out, all else ends the process.
        give_up: called when leadership is lost and a write in flight cannot be cancelled; does not return.
    """

    def __init__(
        self,
        config: Config,
        credentials: Credentials,
        client: KubeClient,
        registry: CollectorRegistry,
        metrics: RuntimeMetrics,
        check: Callable[[], Awaitable[None]] = _admitted,
        give_up: Callable[[str], Any] = exit_at_once,
    ) -> None:
        self._config = config
        self._metrics = metrics
        metrics.leading(config.lease_name, False)
        self._check = check
        self.queue: WorkQueue[Key] = WorkQueue(workers=config.workers, party=lambda key: key[0], observer=metrics.queue)
        lease_namespace = config.lease_namespace or next(iter(config.namespaces), credentials.namespace)
        self.world = World(
            client,
            namespaces=config.namespaces,
            wake=self.queue.add,
            observer=metrics,
            operator=Installation(
                config.managed_by, f"{lease_namespace}/{config.lease_name}", config.jobs_metrics_from
            ),
        )
        self._watches = Watches(self.world.reflectors)
        self._ear = Ear(
            credentials,
            namespaces=config.namespaces,
            identity=config.identity,
            heard=self.world.heard,
            figures=self._figures,
            restarted=lambda reason: metrics.restarted(self.world.jobs.resource.kind, reason, source="kopf"),
        )
        elector = LeaderElector(
            client,
            namespace=lease_namespace,
            name=config.lease_name,
            identity=config.identity,
        )
        self._leadership = Leadership(
            elector if config.leader_election else None, self._lead, self._leadership_changed, give_up
        )
        self._control = Control()
        self._events = EventPoster(client, config.identity)
        site = Site(config.pod_namespace, config.launcher_image, config.launcher_pull_policy)
        self._links = Links(self._control, self.world, self._leadership.fence)
        executor = Executor(client, self.world, self._links, self._events, self._leadership.fence, site)
        recorder = Recorder(config.record) if config.record else None
        self._work = Work(
            self.queue,
            Reconciler(self.world, executor, ProgressShare(), recorder, self._stale),
            self.world.jobs.all_keys,
            metrics,
            workers=config.workers,
            resync_seconds=config.resync_seconds,
        )
        metrics.leading(config.lease_name, False)
        self._stopping = asyncio.Event()
        self._health = HealthServer(self._not_ready, self._ear.probe)
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._unreached = "the API server was not asked yet"
        self.port = 0
        """The port of the metrics, once it runs."""
        # A standby knows the jobs too: told by both, each series would count twice in every sum.
        jobs = JobCollector(
            lambda: self.world.jobs_of_us() if self._leadership.leads else (),
            lambda: self.world.jobs_of_others() if self._leadership.leads else 0,
        )
        registry.register(jobs)
        files = config.metrics_cert, config.metrics_key
        certificate = Certificate(files[0], files[1]) if files[0] and files[1] else None
        self._page = PageServer(registry, jobs.look, Access(client) if config.metrics_auth else None, certificate)

    def stop(self) -> None:
        """Ask it to end in order."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop`, SIGTERM or SIGINT.

        Raises:
            PartEnded: a part ended by itself.
            OSError: the metrics port cannot be used.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.stop)
        try:
            self.port = await self._page.start(self._config.metrics_host, self._config.metrics_port)
            probes = await self._health.start(self._config.metrics_host, self._config.probe_port)
            logger.info("metrics on port %d, health on port %d", self.port, probes)
            self._spawn("loop lag", self._watch_lag())
            if not await self._until_stop(self._reach_server()):
                return
            self._spawn("watches", self._watches.run())
            self._spawn("kopf", self._ear.run())
            if not await self._until_stop(self.world.wait_synced()):
                return
            leadership = self._spawn("leadership", self._leadership.run())
            await self._until_stop(asyncio.Event().wait())
            self._tasks.pop(leadership)
            await self._drain(leadership)
        finally:
            await self._close()

    async def _reach_server(self) -> None:
        """Wait until the API server answers. A refusal is raised: waiting would not mend it."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._check()
            except errors.KubeError as error:
                self._unreached = f"the API server cannot be reached: {error.message}"
                logger.warning("%s; again in %.0f s", self._unreached, pause)
                await asyncio.sleep(pause * random.uniform(0.8, 1.0))
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                self._unreached = ""
                return

    async def _lead(self) -> None:
        """What a leader does, until the queue is shut down."""
        # What was known before the lease was won may miss what the leader before wrote; nothing of ours is in flight.
        await self._watches.renew()
        self.world.expectations.clear()
        self.world.lead(True)
        events = asyncio.create_task(self._events.run(), name="events")
        try:
            await self._work.run()
            await self._events.flush(EVENT_SECONDS)
        finally:
            events.cancel()
            await asyncio.gather(events, *self._links.close(), return_exceptions=True)

    def _leadership_changed(self, leads: bool) -> None:
        self._metrics.leading(self._config.lease_name, leads)
        if not leads:
            self.world.lead(False)

    async def _watch_lag(self) -> None:
        while True:
            due = time.monotonic() + LAG_PERIOD
            await asyncio.sleep(LAG_PERIOD)
            self._metrics.lag(time.monotonic() - due)

    def _spawn(self, name: str, part: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(part, name=name)
        self._tasks[task] = name
        return task

    async def _until_stop(self, wanted: Coroutine[Any, Any, Any]) -> bool:
        """Wait for something unless asked to stop first (then False); a part that ends meanwhile is an error."""
        waiter = asyncio.create_task(wanted)
        stop = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([waiter, stop, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            if waiter in done:
                await waiter
                return True
            for task in done & self._tasks.keys():
                error = None if task.cancelled() else task.exception()
                if isinstance(error, PartEnded):
                    raise error
                raise PartEnded(f"{self._tasks[task]} ended: {error or 'without an error'}") from error
            return False
        finally:
            for task in (waiter, stop):
                task.cancel()
            await asyncio.gather(waiter, stop, return_exceptions=True)

    async def _drain(self, leadership: asyncio.Task[Any]) -> None:
        """Let the workers finish what they hold, then give the lease back."""
        logger.info("stopping; %d reconciles in flight", len(self.queue.processing))
        self.queue.shutdown()
        self._leadership.end()
        if self._leadership.leads:
            _, late = await asyncio.wait([leadership], timeout=DRAIN_SECONDS + EVENT_SECONDS)
            if late:
                logger.warning("what is in flight was cut off after %.0f s", DRAIN_SECONDS)
        leadership.cancel()
        await asyncio.gather(leadership, return_exceptions=True)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.world.reports.close()
        await self._control.close()
        await self._page.close()
        await self._health.close()

    def _figures(self) -> dict[str, Any]:
        return {
            "leads": self._leadership.leads,
            "jobsWaiting": len(self.queue),
            "secondsSinceEvent": self._watches.ages(),
        }

    def _stale(self) -> str:
        """Why nothing can be planned: what jobs and pods were is no ground to count or delete anything."""
        return self._watches.stale(resources.JOBS.plural, resources.PODS.plural)

    def _not_ready(self) -> str:
        if self._stopping.is_set():
            return "stopping"
        if self._unreached:
            return self._unreached
        missing = self._watches.missing()
        return f"waiting for the list of {', '.join(missing)}" if missing else self._watches.stale()
