"""An operator that is newer than the CRD: what the API server drops of a status is told once and wakes nobody."""

from __future__ import annotations

import logging

import pytest
from api_faults import Call, Crash, Fault
from operator_lives import NAME, Cluster

from dtj_operator.kube.resources import JOBS

ENOUGH = 60
"""Writes of a status: a job that starts, trains and loses a pod needs a fifth of them."""


def drop(cluster: Cluster, *fields: str) -> None:
    """The CRD does not know these; and whoever writes without end dies."""
    kube = cluster.story.kube
    kube.prunes = fields

    def not_for_ever(call: Call) -> Fault | None:
        return Fault(Crash("it writes without end")) if writes(cluster) > ENOUGH and call.is_write else None

    kube.fault_of = not_for_ever


def writes(cluster: Cluster) -> int:
    return sum(call.verb == "replace" and call.resource == JOBS for call in cluster.story.kube.calls)


@pytest.mark.parametrize(
    "field", ["oldestIncarnation", "updatedAt", "workers.desired", "conditions.observedGeneration"]
)
async def test_a_field_that_is_dropped_costs_no_write_of_a_job_at_rest(cluster, field, caplog):
    caplog.set_level(logging.WARNING)
    drop(cluster, field)
    await cluster.train()
    before = writes(cluster)
    for _ in range(3):
        await cluster.look()
    assert writes(cluster) == before
    said = [line for line in caplog.messages if f"status.{field}" in line]
    assert len(said) == 1
    assert "kubectl apply --server-side -f crds/" in said[0]
    await cluster.restart()
    await cluster.look()
    await cluster.look()
    assert writes(cluster) <= before + 1, "a new process finds out once"


async def test_what_is_dropped_is_remembered_for_as_long_as_the_process_lives(cluster):
    """Else a pod that is counted would be counted again in each plan."""
    drop(cluster, "countedPods")
    await cluster.train()
    cluster.story.fail_pod(0)
    await cluster.look()
    await cluster.look()
    assert cluster.story.status["restarts"]["counted"] == 1


async def test_a_status_that_somebody_else_wrote_meanwhile_is_believed(cluster):
    drop(cluster, "oldestIncarnation")
    await cluster.train()
    cluster.story.kube.edit(JOBS, NAME, lambda item: item["status"]["workers"].update(desired=17))
    await cluster.look()
    assert cluster.story.status["workers"]["desired"] == 2
