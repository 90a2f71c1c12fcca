"""The jobs' metrics come from what the watches hold, and from nothing else."""

from __future__ import annotations

import re

from operator_process import a_job
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from dtj_api.metrics import JobMetric, OperatorMetric
from dtj_operator.observe.records import job_record
from dtj_operator.telemetry.jobs import JobCollector
from dtj_operator.telemetry.runtime import RuntimeMetrics

STATUS = {
    "phase": "Running",
    "incarnation": 3,
    "workers": {"desired": 4, "ready": 3, "active": 4, "failed": 1},
    "restarts": {"counted": 2, "excused": 1, "byCause": {"ProcessExit": 2, "NodeLost": 1}},
    "progress": {"step": 120, "totalSteps": 1000, "epoch": 0.5, "loss": 0.25, "tokensPerSecond": 5000.0},
    "checkpoint": {"lastStep": 100},
    "recovered": {
        "count": 3,
        "seconds": 13.5,
        "stepsRedone": 12,
        "phases": {"detect": 1.5, "pod": 12.0},
        "buckets": [0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0],
    },
}


def record(name="ner", status=None):
    job = a_job(name, 4)
    job["metadata"] |= {"namespace": "ml", "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    return job_record(job | {"status": status or {}})


def page(jobs) -> str:
    registry = CollectorRegistry()
    collector = JobCollector(lambda: jobs, lambda: 0)
    registry.register(collector)
    collector.look()
    return generate_latest(registry).decode()


def test_figures_of_the_status_are_on_the_page():
    text = page([record(status=STATUS)])
    for line in (
        'dtj_job_step{job="ner",namespace="ml"} 120.0',
        'dtj_job_total_steps{job="ner",namespace="ml"} 1000.0',
        'dtj_job_loss{job="ner",namespace="ml"} 0.25',
        'dtj_job_tokens_per_second{job="ner",namespace="ml"} 5000.0',
        'dtj_job_checkpoint_step{job="ner",namespace="ml"} 100.0',
        'dtj_job_incarnation{job="ner",namespace="ml"} 3.0',
        'dtj_job_phase{job="ner",namespace="ml",phase="Running"} 1.0',
        'dtj_job_phase{job="ner",namespace="ml",phase="Failed"} 0.0',
        'dtj_job_workers{job="ner",namespace="ml",state="ready"} 3.0',
        'dtj_job_info{job="ner",namespace="ml",uid="uid-ner"} 1.0',
    ):
        assert line in text


def test_counters_begin_where_the_status_left_them():
    assert 'dtj_job_restarts_total{cause="ProcessExit",job="ner",namespace="ml"} 2.0' in page([record(status=STATUS)])


def test_recoveries_are_a_histogram_that_outlives_the_operator():
    text = page([record(status=STATUS)])
    for line in (
        'dtj_job_recovery_seconds_bucket{job="ner",le="0.5",namespace="ml"} 0.0',
        'dtj_job_recovery_seconds_bucket{job="ner",le="1.0",namespace="ml"} 2.0',
        'dtj_job_recovery_seconds_bucket{job="ner",le="30.0",namespace="ml"} 3.0',
        'dtj_job_recovery_seconds_bucket{job="ner",le="+Inf",namespace="ml"} 3.0',
        'dtj_job_recovery_seconds_count{job="ner",namespace="ml"} 3.0',
        'dtj_job_recovery_seconds_sum{job="ner",namespace="ml"} 13.5',
        'dtj_job_recovery_phase_seconds_total{job="ner",namespace="ml",phase="pod"} 12.0',
        'dtj_job_steps_redone_total{job="ner",namespace="ml"} 12.0',
    ):
        assert line in text


def test_the_series_of_a_job_go_with_it():
    jobs = [record("one", STATUS), record("two", STATUS)]
    assert 'job="one"' in page(jobs)
    jobs.pop(0)
    assert 'job="one"' not in page(jobs)


def test_what_is_not_reported_has_no_series():
    assert "dtj_job_loss{" not in page([record()])


def test_at_most_sixty_series_a_job():
    lines = [line for line in page([record(status=STATUS)]).splitlines() if not line.startswith("#")]
    assert len(lines) <= 60


def test_every_job_metric_of_the_contract_is_exported():
    slow = {"rank": 2, "pod": "ner-worker-0002", "node": "node-a", "ratio": 2.1}
    changes = {"progress": STATUS["progress"] | {"samplesPerSecond": 1.0}, "straggler": slow}
    text = page([record(status=STATUS | changes)])
    assert 'dtj_job_straggler_ratio{job="ner",namespace="ml",node="node-a",rank="2"} 2.1' in text
    assert not [metric for metric in JobMetric if not re.search(rf"^{metric}(_bucket)?{{", text, re.MULTILINE)]


def test_every_metric_of_the_operator_is_exported_and_two_operators_do_not_collide():
    registries = [CollectorRegistry(), CollectorRegistry()]
    for registry in registries:
        metrics = RuntimeMetrics(registry)
        metrics.serve("https://api", 8)
        metrics.request("GET", 200, 0.1)
        metrics.leading("lease", True)
        metrics.event("Pod")
        metrics.restarted("Pod", "expired")
        metrics.reconcile_began()
        metrics.reconcile_ended("error", 0.1)
        metrics.lag(-1.0)
        collector = JobCollector(lambda: (), lambda: 2)
        registry.register(collector)
        collector.look()
    text = generate_latest(registries[1]).decode()
    assert "dtj_operator_jobs_of_others 2.0" in text
    assert not [metric for metric in OperatorMetric if metric not in text]
    assert 'rest_client_requests_total{code="200",host="https://api",method="GET"} 1.0' in text
