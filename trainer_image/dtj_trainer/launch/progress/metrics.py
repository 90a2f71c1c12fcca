"""The metrics page of a worker pod, in Prometheus' text format, written with the standard library alone."""

from __future__ import annotations

from collections.abc import Iterator

from dtj_api.metrics import TrainMetric
from dtj_trainer.launch.progress.board import Board
from dtj_trainer.launch.progress.training import BUCKETS, Histogram, RankSeries

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HELP = {
    TrainMetric.STEP: "Optimizer steps done.",
    TrainMetric.EPOCH: "Epochs done, with the fraction of the current one.",
    TrainMetric.LOSS: "Training loss of the last reported step.",
    TrainMetric.LEARNING_RATE: "Learning rate of the last reported step.",
    TrainMetric.GRAD_NORM: "Norm of the gradients before clipping.",
    TrainMetric.TOKENS: "Tokens of the global batch trained on while this pod ran, repeated steps included.",
    TrainMetric.SAMPLES: "Samples of the global batch trained on while this pod ran, repeated steps included.",
    TrainMetric.TOKENS_PER_SECOND: "Tokens a second of the whole job.",
    TrainMetric.SAMPLES_PER_SECOND: "Samples a second of the whole job.",
    TrainMetric.STEP_SECONDS: "Seconds of a step.",
    TrainMetric.OWN_STEP_SECONDS: "Seconds of a step that the rank itself takes, without its wait for other ranks.",
    TrainMetric.DATA_WAIT_SECONDS: "Seconds that a step waited for its data.",
    TrainMetric.WORLD_SIZE: "Ranks of the current round, over all pods.",
    TrainMetric.RESTARTS: "Rounds after the first one in which this pod took part.",
    TrainMetric.MEMORY_BYTES: "Resident memory of a rank, or of its GPU where it has one.",
    TrainMetric.CHECKPOINT_STEP: "Step of the last checkpoint that was published.",
    TrainMetric.CHECKPOINT_SECONDS: "Seconds that the last checkpoint took.",
    TrainMetric.CHECKPOINT_STALL_SECONDS: "Seconds of these that training stood still.",
    TrainMetric.MEMORY_STEP: "Step of the last checkpoint in memory.",
    TrainMetric.CHECKPOINTS_DAMAGED: "Checkpoints that were found damaged and passed over.",
    TrainMetric.CHECKPOINTS_FAILED: "Saves that failed.",
    TrainMetric.VOLUME_SECONDS: "Seconds that a small file last took on the volume.",
}


def render(job: str, board: Board) -> bytes:
    """The page: all local ranks, by global rank."""
    lines: list[str] = []
    ranks = board.training.series()
    report = board.report()
    of_pod: dict[TrainMetric, float] = {
        TrainMetric.WORLD_SIZE: report.world_size,
        TrainMetric.RESTARTS: board.restarts,
        TrainMetric.CHECKPOINTS_DAMAGED: board.damaged_count,
        TrainMetric.CHECKPOINTS_FAILED: board.failed_saves,
    }
    if report.volume.seconds is not None:
        of_pod[TrainMetric.VOLUME_SECONDS] = report.volume.seconds
    for metric in TrainMetric:
        samples = list(_samples(metric, job, of_pod, ranks))
        if samples:
            lines += [f"# HELP {metric} {HELP[metric]}", f"# TYPE {metric} {_kind(metric, ranks)}", *samples]
    return ("\n".join(lines) + "\n").encode()


def _kind(metric: TrainMetric, ranks: dict[int, RankSeries]) -> str:
    if any(metric in series.histograms for series in ranks.values()):
        return "histogram"
    return "counter" if metric.endswith("_total") else "gauge"


def _samples(
    metric: TrainMetric, job: str, of_pod: dict[TrainMetric, float], ranks: dict[int, RankSeries]
) -> Iterator[str]:
    if metric in of_pod:
        yield f'{metric}{{job_name="{_escape(job)}"}} {_number(of_pod[metric])}'
    for rank, series in ranks.items():
        labels = f'job_name="{_escape(job)}",rank="{rank}"'
        for values in (series.gauges, series.counters):
            if metric in values:
                yield f"{metric}{{{labels}}} {_number(values[metric])}"
        if metric in series.histograms:
            yield from _histogram(metric, labels, series.histograms[metric])


def _histogram(metric: str, labels: str, histogram: Histogram) -> Iterator[str]:
    count = 0
    for bound, one in zip((*map(_number, BUCKETS), "+Inf"), histogram.counts, strict=True):
        count += one
        yield f'{metric}_bucket{{{labels},le="{bound}"}} {count}'
    yield f"{metric}_sum{{{labels}}} {_number(histogram.sum)}"
    yield f"{metric}_count{{{labels}}} {count}"


def _number(value: float) -> str:
    """As Prometheus reads it: NaN and infinities have names of their own."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
