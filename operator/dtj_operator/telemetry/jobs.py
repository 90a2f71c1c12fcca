"""The jobs' metrics, as the watches have them at the moment of the scrape.

No series is kept anywhere: a deleted job's are gone with it, and counters begin where the status left them when the
operator starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dtj_api.metrics import JobMetric, OperatorMetric
from dtj_api.names import RECOVERY_BUCKETS, Condition, Phase
from dtj_api.status import RecoveryTotals
from dtj_operator.observe.records import JobRecord

_LABELS = ("namespace", "job")


class JobCollector(Collector):
    """Collects the metrics of the jobs of one operator.

    Args:
        jobs: those that it acts on.
        others: how many it leaves to another release.
    """

    def __init__(self, jobs: Callable[[], Iterable[JobRecord]], others: Callable[[], int]) -> None:
        self._jobs = jobs
        self._others = others
        self._seen: tuple[tuple[JobRecord, ...], int] = ((), 0)

    def look(self) -> None:
        """Take what is now: the next `collect`, which may run in a thread, tells of that."""
        self._seen = tuple(self._jobs()), self._others()

    def describe(self) -> Iterable[Metric]:
        """Nothing to describe ahead of time."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, each with the series of all jobs at the last `look`."""
        jobs, count = self._seen
        info = GaugeMetricFamily(JobMetric.INFO, "Always 1; uid as a label.", labels=(*_LABELS, "uid"))
        phase = GaugeMetricFamily(JobMetric.PHASE, "1 for the job's phase, else 0.", labels=(*_LABELS, "phase"))
        workers = GaugeMetricFamily(JobMetric.WORKERS, "Worker pods by state.", labels=(*_LABELS, "state"))
        incarnation = GaugeMetricFamily(JobMetric.INCARNATION, "Times that all workers met anew.", labels=_LABELS)
        restarts = CounterMetricFamily(
            JobMetric.RESTARTS.removesuffix("_total"),
            "Restarts over the job's life, by cause.",
            labels=(*_LABELS, "cause"),
        )
        recovery = HistogramMetricFamily(
            JobMetric.RECOVERY_SECONDS, "Seconds from each loss to the next step.", labels=_LABELS
        )
        phases = CounterMetricFamily(
            JobMetric.RECOVERY_PHASE_SECONDS.removesuffix("_total"),
            "Seconds of all recoveries, by the phase that they went to.",
            labels=(*_LABELS, "phase"),
        )
        redone = CounterMetricFamily(
            JobMetric.STEPS_REDONE.removesuffix("_total"), "Steps made again after restarts.", labels=_LABELS
        )
        figures = {
            metric: GaugeMetricFamily(metric, text, labels=_LABELS)
            for metric, text in (
                (JobMetric.STEP, "Optimizer steps done."),
                (JobMetric.TOTAL_STEPS, "Optimizer steps that the job will do."),
                (JobMetric.EPOCH, "Epochs done, with fraction."),
                (JobMetric.LOSS, "Latest training loss."),
                (JobMetric.TOKENS_PER_SECOND, "Tokens trained on per second, over all ranks."),
                (JobMetric.SAMPLES_PER_SECOND, "Samples trained on per second, over all ranks."),
                (JobMetric.CHECKPOINT_STEP, "Step of the last published checkpoint."),
                (JobMetric.CHECKPOINTS_FAILED, "Saves in a row that failed since the last published checkpoint."),
                (JobMetric.CHECKPOINT_FAILING, "1 while the condition CheckpointFailing is true, else 0."),
            )
        }
        straggler = GaugeMetricFamily(
            JobMetric.STRAGGLER_RATIO,
            "Own step time of a slow rank over the median of the others'; no series while none is slow.",
            labels=(*_LABELS, "rank", "node"),
        )
        for job in jobs:
            where, status = (job.namespace, job.name), job.status
            info.add_metric((*where, job.uid), 1)
            for each in Phase:
                phase.add_metric((*where, each), float(each == status.phase))
            for state in ("desired", "ready", "active", "spare", "failed"):
                workers.add_metric((*where, state), getattr(status.workers, state))
            incarnation.add_metric(where, status.incarnation)
            for cause, count in sorted(status.restarts.by_cause.items()):
                restarts.add_metric((*where, cause), count)
            recovered = status.recovered
            recovery.add_metric(where, _buckets(recovered), recovered.seconds)
            redone.add_metric(where, recovered.steps_redone)
            for name, seconds in sorted(recovered.phases.items()):
                phases.add_metric((*where, name), seconds)
            if (slow := status.straggler) is not None:
                straggler.add_metric((*where, str(slow.rank), slow.node), slow.ratio)
            for metric, value in _figures(job).items():
                if value is not None:
                    figures[metric].add_metric(where, value)
        others = GaugeMetricFamily(OperatorMetric.JOBS_OF_OTHERS, "Jobs that another release acts on.")
        others.add_metric((), count)
        yield from (
            others,
            info,
            phase,
            workers,
            incarnation,
            restarts,
            recovery,
            phases,
            redone,
            straggler,
            *figures.values(),
        )


def _buckets(recovered: RecoveryTotals) -> list[tuple[str, float]]:
    """Cumulated counts by upper bound, as Prometheus has them."""
    bounds = [*map(str, RECOVERY_BUCKETS), "+Inf"]
    return list(zip(bounds, accumulate(recovered.buckets or (0,) * len(bounds)), strict=False))


def _figures(job: JobRecord) -> dict[JobMetric, float | None]:
    progress = job.status.progress
    return {
        JobMetric.STEP: progress.step,
        JobMetric.TOTAL_STEPS: progress.total_steps,
        JobMetric.EPOCH: progress.epoch,
        JobMetric.LOSS: progress.loss,
        JobMetric.TOKENS_PER_SECOND: progress.tokens_per_second,
        JobMetric.SAMPLES_PER_SECOND: progress.samples_per_second,
        JobMetric.CHECKPOINT_STEP: job.status.checkpoint.last_step,
        JobMetric.CHECKPOINTS_FAILED: job.status.checkpoint.failed,
        JobMetric.CHECKPOINT_FAILING: float(job.status.is_true(Condition.CHECKPOINT_FAILING)),
    }
