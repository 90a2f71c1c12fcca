"""The process: watches and timers feed one queue, workers empty it, a lease says who may.

A standby runs everything but the workers and kopf, so that it takes over with warm caches. Whatever of the parts ends
by itself ends the process: starting anew is cheap, since nothing is remembered but what the API server holds. SIGTERM
ends it in order: no new work, what is in flight finishes, the lease is given back, pods are left alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, cast

import kopf
from prometheus_client import CollectorRegistry

from dtj_operator import kopf_watch
from dtj_operator.act.control import Control
from dtj_operator.act.events import EventPoster
from dtj_operator.act.executor import Executor
from dtj_operator.act.progress import ProgressShare
from dtj_operator.config import Config
from dtj_operator.health import HealthServer
from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient
from dtj_operator.kube.credentials import Credentials
from dtj_operator.leader import LeaderElector, LeadershipLost
from dtj_operator.observe.reflector import Key
from dtj_operator.observe.world import World
from dtj_operator.queue import Shutdown, WorkQueue
from dtj_operator.reconcile import AT_ONCE, Reconciler, Unfinished
from dtj_operator.render import Site
from dtj_operator.telemetry.jobs import JobCollector
from dtj_operator.telemetry.record import Recorder
from dtj_operator.telemetry.runtime import RuntimeMetrics

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 15.0
EVENT_SECONDS = 3.0
LAG_PERIOD = 1.0


class PartEnded(Exception):
    """A part of the operator that runs for ever has ended."""


def _exit_at_once(why: str) -> NoReturn:
    """End the process without another await: somebody else leads, and nothing may be written any more."""
    logger.critical("leadership lost: %s", why)
    logging.shutdown()
    os._exit(1)


class Operator:
    """One operator process. Make it within the event loop, then `run` it once.

    Args:
        config: its settings.
        credentials: for kopf.
        client: for everything else.
        registry: where its metrics go.
        metrics: made on that registry; also the client's observer.
        lost: called when leadership is lost; does not return.
    """

    def __init__(
        self,
        config: Config,
        credentials: Credentials,
        client: KubeClient,
        registry: CollectorRegistry,
        metrics: RuntimeMetrics,
        lost: Callable[[str], Any] = _exit_at_once,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._metrics = metrics
        self._lost = lost
        self.queue: WorkQueue[Key] = WorkQueue(observer=metrics.queue)
        self.world = World(client, namespace=config.namespace, wake=self.queue.add, observer=metrics)
        self._control = Control()
        self._events = EventPoster(client, config.identity)
        site = Site(config.pod_namespace, config.launcher_image, config.launcher_pull_policy)
        executor = Executor(client, self.world, self._control, self._events, self._fence, site)
        recorder = Recorder(config.record) if config.record else None
        self._reconciler = Reconciler(self.world, executor, ProgressShare(), recorder)
        self._elector = LeaderElector(
            client,
            namespace=config.lease_namespace or config.namespace or credentials.namespace,
            name=config.lease_name,
            identity=config.identity,
        )
        self._stopping = asyncio.Event()
        self._health = HealthServer(registry, self._not_ready)
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._election: asyncio.Task[Any] | None = None
        self.port = 0
        """The port of health and metrics, once it runs."""
        self._leads = False
        # A standby knows the jobs too: told by both, each series would count twice in every sum.
        registry.register(JobCollector(lambda: self.world.jobs.values() if self._leads else ()))

    def stop(self) -> None:
        """Ask it to end in order."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop`, SIGTERM or SIGINT.

        Raises:
            PartEnded: a part ended by itself.
            OSError: the metrics port cannot be used.
        """
        workers: list[asyncio.Task[Any]] = []
        kopf_stop = asyncio.Event()
        self._on_signals()
        try:
            self.port = await self._health.start(self._config.metrics_host, self._config.metrics_port)
            logger.info("metrics and health on port %d", self.port)
            for reflector in self.world.reflectors:
                self._spawn(f"watch of {reflector.resource.plural}", reflector.run())
            self._spawn("loop lag", self._watch_lag())
            if not await self._until_stop(self.world.wait_synced()) or not await self._until_stop(self._lead()):
                return
            if self._config.leader_election:
                self._election = self._spawn("leader election", self._hold())
            self._spawn("resync", self._resync())
            self._spawn("events", self._events.run())
            kopf_task = self._spawn("kopf", self._kopf(kopf_stop))
            workers = [self._spawn(f"worker {i}", self._work()) for i in range(self._config.workers)]
            await self._until_stop(asyncio.Event().wait())
            self._tasks.pop(kopf_task)
            await self._drain(workers)
            kopf_stop.set()
            await asyncio.wait([kopf_task], timeout=DRAIN_SECONDS)
            kopf_task.cancel()
        finally:
            await self._close()

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.stop)

    async def _lead(self) -> None:
        lease = self._config.lease_name
        self._metrics.leading(lease, False)
        if self._config.leader_election:
            await self._elector.acquire()
        self._leads = True
        self._metrics.leading(lease, True)

    async def _hold(self) -> None:
        try:
            await self._elector.hold()
        except LeadershipLost as lost:
            self._lost(str(lost))
            raise

    def _fence(self) -> None:
        """Called before each write: a leader that was paused must not write on an expired lease."""
        if self._config.leader_election and (not self._elector.leading or self._elector.overdue()):
            self._lost("the lease was not renewed in time")
            raise LeadershipLost("the lease was not renewed in time")

    async def _kopf(self, stop: asyncio.Event) -> None:
        everywhere = self._config.namespace is None
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=kopf_watch.registry(self._credentials, self.queue.add),
            settings=kopf_watch.settings(),
            # Left to itself kopf asks for the user's name, which a container's uid need not have.
            identity=cast(Any, self._config.identity),
            standalone=True,
            clusterwide=everywhere,
            namespaces=[] if everywhere else [self._config.namespace or ""],
            stop_flag=stop,
        )
        # kopf takes the signals for itself; the order of our own shutdown needs them back.
        self._on_signals()
        await kopf.run_tasks(tasks, ignored=before)
        # A signal in the moment before ours were back went to kopf alone, which then ends without an error.
        self.stop()
        await stop.wait()

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except Shutdown:
                return
            await self._reconcile(key)

    async def _reconcile(self, key: Key) -> None:
        started, result = time.monotonic(), "error"
        self._metrics.reconcile_began()
        try:
            after = await self._reconciler.reconcile(key)
            self.queue.forget(key)
            result = "success" if after is None else "requeue" if after == AT_ONCE else "requeue_after"
            if after is not None:
                self.queue.add_after(key, after)
        except errors.Conflict as conflict:
            result = "requeue"
            self.queue.add_failed(key)
            logger.debug("changed since it was observed: %s", conflict, extra=_about(key))
        except (errors.KubeError, Unfinished) as error:
            delay = self.queue.add_failed(key)
            # A deadline or a message that is due waits for no back-off: of two times the queue keeps the earlier.
            if isinstance(error, Unfinished) and error.requeue_after is not None:
                delay = min(delay, error.requeue_after)
                self.queue.add_after(key, delay)
            logger.warning("%s; again in %.1f s", error, delay, extra=_about(key))
        except LeadershipLost:
            raise
        except Exception:
            # A defect that one job brings out must not keep the others from being served.
            delay = self.queue.add_failed(key)
            logger.exception("reconcile failed; again in %.1f s", delay, extra=_about(key))
        finally:
            self.queue.done(key)
            self._metrics.reconcile_ended(result, time.monotonic() - started)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._config.resync_seconds)
            for key in self.world.jobs.all_keys():
                self.queue.add(key)

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
                raise PartEnded(f"{self._tasks[task]} ended: {error or 'without an error'}") from error
            return False
        finally:
            for task in (waiter, stop):
                task.cancel()
            await asyncio.gather(waiter, stop, return_exceptions=True)

    async def _drain(self, workers: list[asyncio.Task[Any]]) -> None:
        """Let the workers finish what they hold, then give the lease back."""
        logger.info("stopping; %d reconciles in flight", len(self.queue.processing))
        self.queue.shutdown()
        _, late = await asyncio.wait(workers, timeout=DRAIN_SECONDS)
        if late:
            logger.warning("%d reconciles were cut off after %.0f s", len(late), DRAIN_SECONDS)
        await self._events.flush(EVENT_SECONDS)
        self._leads = False
        # A renewal that still goes on would find the lease given up, and take that for a loss of it.
        if self._election is not None:
            self._election.cancel()
            await asyncio.gather(self._election, return_exceptions=True)
        await self._elector.release()
        self._metrics.leading(self._config.lease_name, False)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.world.reports.close()
        await self._control.close()
        await self._health.close()

    def _not_ready(self) -> str:
        if self._stopping.is_set():
            return "stopping"
        missing = [each.resource.plural for each in self.world.reflectors if not each.synced.is_set()]
        return f"waiting for the first list of {', '.join(missing)}" if missing else ""


def _about(key: Key) -> dict[str, str]:
    return {"job": "/".join(key)}
