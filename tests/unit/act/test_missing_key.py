"""A Secret that somebody deletes before the pods have started: no kubelet starts a container without it."""

from __future__ import annotations

from typing import Any

from operator_lives import NAME, Cluster
from plan_jobs import NOW, a_job

from dtj_api import names
from dtj_operator.kube.resources import EVENTS, PODS, SECRETS
from dtj_operator.observe import lookups as module
from dtj_operator.observe.view import SLOW_START
from dtj_operator.plan import plan

KEY = names.key_name(NAME)


def schedule(item: Any) -> None:
    item["spec"]["nodeName"] = "node-a"
    item["status"] = {"phase": "Pending"}


async def test_it_is_made_anew_within_half_a_minute_and_named(cluster: Cluster, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "FRESH_WHILE_WAITED_FOR", 0.0)
    await cluster.life.settle()
    kube = cluster.story.kube
    for name in cluster.uids():
        kube.edit(PODS, name, schedule)
    data = kube.read(SECRETS, KEY)["data"]
    kube.remove(SECRETS, KEY)
    cluster.story.now += SLOW_START
    await cluster.look()
    assert kube.read(SECRETS, KEY)["data"] == data, "whoever has read it goes on with it"
    assert any(f"Secret {KEY}" in each["note"] and "missing" in each["note"] for each in kube.all(EVENTS))


def test_a_start_that_takes_long_is_looked_at_again() -> None:
    made = plan(a_job().replicas(2).up().not_up(1).view(NOW))
    assert made.requeue_after is not None
    assert made.requeue_after <= SLOW_START
