"""The operator's own metrics, under controller-runtime's names, so that existing boards and alerts fit.

Each operator has its own registry: the default one is global, and two operators in one test process would collide.
"""

from __future__ import annotations

import platform
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from dtj_api import names
from dtj_api.metrics import OperatorMetric

CONTROLLER = names.SINGULAR
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class RuntimeMetrics:
    """Counts what the operator does. Its methods are the observers of queue, client and watches."""

    def __init__(self, registry: CollectorRegistry) -> None:
        metric = OperatorMetric
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        results = Counter(metric.RECONCILE, "Reconciles by result.", ["controller", "result"], registry=registry)
        self._results = {
            result: results.labels(CONTROLLER, result) for result in ("success", "error", "requeue", "requeue_after")
        }
        self._errors = Counter(metric.RECONCILE_ERRORS, "Reconciles that failed.", ["controller"], registry=registry)
        self._seconds = Histogram(
            metric.RECONCILE_TIME, "Length of a reconcile.", ["controller"], buckets=_SECONDS, registry=registry
        )
        self._active = Gauge(metric.ACTIVE_WORKERS, "Workers that reconcile now.", ["controller"], registry=registry)
        self._max = Gauge(metric.MAX_WORKERS, "Workers that may reconcile at once.", ["controller"], registry=registry)
        self._requests = Counter(
            metric.REST_REQUESTS, "Requests to the API server.", ["code", "method", "host"], registry=registry
        )
        self._leading = Gauge(metric.LEADING, "1 while this process leads.", ["name"], registry=registry)
        self._restarts = Counter(
            metric.WATCH_RESTARTS, "Watches begun anew.", ["kind", "reason", "source"], registry=registry
        )
        self._events = Counter(metric.WATCH_EVENTS, "Events that the watches brought.", ["kind"], registry=registry)
        self._lag = Histogram(
            metric.LOOP_LAG, "How late the event loop runs a timer.", buckets=_SECONDS, registry=registry
        )
        info = Gauge(metric.BUILD_INFO, "Always 1; the version is a label.", ["version", "python"], registry=registry)
        info.labels(version("dtj"), platform.python_version()).set(1)
        self.queue = QueueMetrics(registry)
        self._errors.labels(CONTROLLER)
        self._host = ""

    def serve(self, host: str, workers: int) -> None:
        """Say which API server is talked to and how many workers reconcile."""
        self._host = host
        self._max.labels(CONTROLLER).set(workers)

    def request(self, verb: str, code: int, seconds: float) -> None:
        """A request to the API server was answered; 0: it was not."""
        self._requests.labels(str(code) if code else "<error>", verb, self._host).inc()

    def reconcile_began(self) -> None:
        """A worker took a job."""
        self._active.labels(CONTROLLER).inc()

    def reconcile_ended(self, result: str, seconds: float) -> None:
        """A worker is through with a job: success, error, requeue or requeue_after."""
        self._active.labels(CONTROLLER).dec()
        self._results[result].inc()
        if result == "error":
            self._errors.labels(CONTROLLER).inc()
        self._seconds.labels(CONTROLLER).observe(seconds)

    def leading(self, lease: str, value: bool) -> None:
        """Leadership was won or lost."""
        self._leading.labels(lease).set(int(value))

    def event(self, kind: str) -> None:
        """A watch brought something."""
        self._events.labels(kind).inc()

    def restarted(self, kind: str, reason: str, source: str = "reflector") -> None:
        """A watch is begun anew: one of our own, or kopf's."""
        self._restarts.labels(kind, reason, source).inc()

    def lag(self, seconds: float) -> None:
        """A timer ran so much too late."""
        self._lag.observe(max(0.0, seconds))


class QueueMetrics:
    """`QueueObserver` for the one work queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        metric = OperatorMetric
        labels = {"name": CONTROLLER, "controller": CONTROLLER}

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, list(labels), registry=registry).labels(**labels)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, list(labels), buckets=_SECONDS, registry=registry).labels(**labels)

        self._depth = Gauge(metric.QUEUE_DEPTH, "Jobs that wait.", list(labels), registry=registry).labels(**labels)
        self._adds = counter(metric.QUEUE_ADDS, "Jobs that were added.")
        self._waited = histogram(metric.QUEUE_WAIT, "How long a job waited.")
        self._worked = histogram(metric.QUEUE_WORK, "How long a job was worked on.")
        self._retries = counter(metric.QUEUE_RETRIES, "Jobs put back after a failure.")

    def added(self, depth: int) -> None:
        """See `QueueObserver`."""
        self._adds.inc()
        self._depth.set(depth)

    def taken(self, depth: int, waited: float) -> None:
        """See `QueueObserver`."""
        self._depth.set(depth)
        self._waited.observe(waited)

    def done(self, worked: float) -> None:
        """See `QueueObserver`."""
        self._worked.observe(worked)

    def retried(self) -> None:
        """See `QueueObserver`."""
        self._retries.inc()
