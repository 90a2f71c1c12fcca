"""Where worker pods go, when they leave it, and how long they have for that."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import a_job, a_template
from worker_pods import env_of, worker

from dtj_api.names import Env


@pytest.mark.parametrize(("given", "seconds"), [(None, 120), (30, 120), (3600, 3600)])
def test_grace(given: int | None, seconds: int) -> None:
    template = a_template() if given is None else a_template(terminationGracePeriodSeconds=given)
    pod = worker(a_job().template(template).view())
    assert pod["spec"]["terminationGracePeriodSeconds"] == seconds
    assert env_of(pod)[Env.GRACE_SECONDS] == str(seconds)


def test_nodes_that_are_away_are_given_up_by_the_operator_alone() -> None:
    own = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    pod = worker(a_job().template(a_template(tolerations=[gpu, own])).view())
    endless = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    assert pod["spec"]["tolerations"] == [gpu, own, endless]
    assert len(worker(a_job().view())["spec"]["tolerations"]) == 2
    everything = [{"operator": "Exists"}]
    assert worker(a_job().template(a_template(tolerations=everything)).view())["spec"]["tolerations"] == everything


def test_priority_class_where_the_template_names_none() -> None:
    job = a_job().spec(schedule={"priorityClassName": "high"})
    assert worker(job.view())["spec"]["priorityClassName"] == "high"
    own = job.template(a_template(priorityClassName="low"))
    assert worker(own.view())["spec"]["priorityClassName"] == "low"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"podAntiAffinity": {"x": 1}},
        {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}},
    ],
)
def test_nodes_are_avoided_by_a_preference_beside_what_the_template_says(given: dict[str, Any]) -> None:
    job = a_job().template(a_template(affinity=given))
    affinity = worker(job.view(), avoid=("node-a", "node-b"))["spec"]["affinity"]
    wishes = affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in ("node-a", "node-b")]
    assert wishes[-1] == {"weight": 100, "preference": {"matchFields": fields}}
    assert wishes[:-1] == given.get("nodeAffinity", {}).get("preferredDuringSchedulingIgnoredDuringExecution", [])
    for key, value in given.items():
        assert affinity[key].items() >= {k: v for k, v in value.items() if not k.startswith("preferred")}.items()


def test_without_nodes_to_avoid_the_affinity_is_the_templates() -> None:
    assert "affinity" not in worker(a_job().view())["spec"]
