"""Who has trained, and who is held back, is known after an upgrade, and does no harm to the operator before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import earlier
from plan_jobs import NOW, Job, a_job, a_pod, a_report

from dtj_api.known_pods import TRAINED, KnownPod
from dtj_api.names import LauncherState
from dtj_api.scalars import Timestamp
from dtj_api.status import JobStatus, NewcomerStatus
from dtj_api.stored_status import read_status
from dtj_operator.plan import plan

BEFORE = """
import json, sys
from plan_jobs import NOW, a_job
from dtj_api.status import JobStatus
from dtj_operator.plan import plan
job = a_job().replicas(3, least=2).running(incarnation=3).without(2).without(1)
made = plan(job.stored(JobStatus.model_validate(json.load(sys.stdin))).view(NOW + 1))
json.dump({"status": made.status.dump(), "actions": [str(action) for action in made.actions]}, sys.stdout)
"""
"""What the first version makes of a status of `_recovers`."""


def _recovers() -> Job:
    """Worker 2 is held back; of the two that trained on without it one was lost, and all meet in incarnation 4."""
    job = a_job().replicas(3, least=2).running(incarnation=3).without(2)
    job.status(members=(0, 1), min_members=2, trained=3).end(1, 143, disruption="EvictionByEvictionAPI")
    since = Timestamp(NOW - 100)
    job.status(incarnation_at=since, start_time=since, resumed_at=since)
    job.status(newcomers=NewcomerStatus(in_vain=7, create_after=Timestamp(NOW + 50)), pods=_known(0, 1))
    return job.stored(plan(job.view()).status).without(1)


def _known(*indices: int) -> tuple[KnownPod, ...]:
    return tuple(KnownPod(index=index, uid=f"pod-{index}-3", incarnation=3) for index in indices)


def _by_the_first_version(status: JobStatus, folder: Path) -> dict[str, Any]:
    code = earlier.tree(folder)
    environment = earlier.environment(code)
    environment["PYTHONPATH"] = os.pathsep.join((environment["PYTHONPATH"], str(code / "tests/support")))
    asked, run = json.dumps(status.dump()), [sys.executable, "-c", BEFORE]
    ran = subprocess.run(run, input=asked, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    made: dict[str, Any] = json.loads(ran.stdout)
    return made


def test_the_first_version_goes_on_and_the_way_back_counts_nothing_again(tmp_path: Path) -> None:
    job = _recovers()
    stored = job.view().status
    assert [(known.index, known.incarnation) for known in stored.pods] == [(0, TRAINED)]
    assert stored.newcomers.in_vain == 7
    made = _by_the_first_version(stored, tmp_path)
    assert made["status"]["restarts"] == stored.dump()["restarts"]
    assert "create worker pod ner-worker-0001 in incarnation 4" in made["actions"]

    back = read_status(made["status"])
    assert back.newcomers == NewcomerStatus(), "the row begins anew"
    assert back.pods == stored.pods
    again = plan(job.stored(back).without(0).view(NOW + 2)).status
    assert (again.in_vain, again.newcomers.in_vain) == (0, 0), "it is known to have trained"
    assert again.restarts.by_cause["Gone"] == 1


def test_what_trains_at_an_upgrade_is_known_to_have_trained() -> None:
    job = a_job().replicas(2).running().status(trained=1).end(1, 143, disruption="EvictionByEvictionAPI")
    first = plan(job.view()).status
    assert (first.in_vain, first.newcomers.in_vain, first.create_after) == (0, 0, None)
    second = plan(job.stored(first).without(0).view(NOW + 1)).status
    assert (second.in_vain, second.newcomers.in_vain) == (0, 0)


def test_the_form_of_a_pod_that_has_trained_is_stored_and_read() -> None:
    pod = a_pod(0)
    status = JobStatus(pods=(KnownPod(index=0, uid=pod.uid, incarnation=TRAINED),))
    assert read_status(status.dump()) == status
    waiting = a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING)
    job = a_job().replicas(1).up(incarnation=2).pod(pod, waiting).status(pods=status.pods, trained=1)
    assert plan(job.view()).status.pods == status.pods
