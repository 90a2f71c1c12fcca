"""The status of a large job stays small and says the same; the operator before, which cannot read all, survives it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from random import Random
from typing import Any

import earlier
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_jobs import NOW, Job, a_job, a_pod

from dtj_api.base import ManifestError
from dtj_api.known_pods import MAX_PODS, PACKED, PLAIN_PODS, KnownPod, pack
from dtj_api.scalars import Timestamp
from dtj_api.status import ExcludedNode, JobStatus, Recovery
from dtj_api.stored_status import read_status
from dtj_operator.plan import plan

BOUND = 40_000
WORKERS = 1_000


def _uid(index: int) -> str:
    """As an API server gives them."""
    return str(uuid.UUID(int=Random(index).getrandbits(128), version=4))


def _trains(count: int = WORKERS, *, nodes: int = 125) -> Job:
    job = a_job().replicas(count, least=1).running()
    for index in range(count):
        job.without(index).pod(a_pod(index, uid=_uid(index), node=f"node-{index % nodes}"))
    known = tuple(KnownPod(index=index, uid=_uid(index), incarnation=1 + index % 50) for index in range(count))
    since = Timestamp(NOW - 100)
    return job.status(pods=known, incarnation_at=since, start_time=since, resumed_at=since, updated_at=since)


def _with_spares() -> Job:
    job = _trains().spec_workers(spares=16)
    for index in range(WORKERS, WORKERS + 16):
        job.pod(a_pod(index, uid=_uid(index)))
    return job


def _with_a_history(job: Job) -> Job:
    """All that a status keeps of what happened before."""
    phases = {"Detect": 0.25, "Pods": 12.5, "Meet": 0.75, "Restore": 3.125}
    past = Recovery(at=Timestamp(NOW), cause="NodeLost", node="node-7", phases=phases, seconds=16.625, steps_redone=50)
    away = ExcludedNode(name="node-7", until=Timestamp(NOW + 600), why="it was not ready for 60 s")
    return job.status(recoveries=(past,) * 10, excluded_nodes=(away,) * 10)


def _300_ended() -> Job:
    job = _trains()
    for index in range(300):
        job.end(index, 1)
    return job


STATES = {
    "it trains": _trains,
    "it has spares": _with_spares,
    "it lost a pod": lambda: _trains().without(500),
    "it lost a node": lambda: _trains().node("node-7", ready=False, not_ready_since=NOW - 60),
    "it lost a node with 90 pods, and more before": lambda: _with_a_history(
        _trains(nodes=11).node("node-7", ready=False, not_ready_since=NOW - 60)
    ),
    "300 pods ended at once": _300_ended,
}


@pytest.mark.parametrize("state", STATES)
def test_the_status_of_1000_workers_is_small_and_is_read_as_it_was(state: str) -> None:
    status = plan(STATES[state]().view()).status
    written = json.dumps(status.dump(), separators=(",", ":"))
    assert len(written) <= BOUND
    assert read_status(json.loads(written)) == status
    assert len(status.pods) + len(status.counted_pods) >= WORKERS - 1


def test_up_to_400_pods_have_entries_of_their_own_which_the_operator_before_reads() -> None:
    known = plan(_trains(PLAIN_PODS).view()).status
    entries = known.dump()["pods"]
    assert [(each["index"], each["uid"]) for each in entries] == [(index, _uid(index)) for index in range(PLAIN_PODS)]
    assert len(json.dumps(known.dump(), separators=(",", ":"))) <= BOUND


UIDS = st.one_of(st.uuids().map(str), st.sampled_from(["", "u1", "A" * 36, str(uuid.UUID(int=7)).upper(), "a\n"]))
PODS = st.dictionaries(
    st.one_of(st.integers(0, MAX_PODS), st.integers(-1, PACKED - 1)),
    st.tuples(UIDS, st.one_of(st.integers(0, 300), st.integers(0, 1 << 40))),
    max_size=30,
).map(
    lambda table: tuple(
        KnownPod(index=index, uid=uid, incarnation=made) for index, (uid, made) in sorted(table.items())
    )
)


@given(PODS)
@settings(max_examples=50)
def test_whatever_is_packed_is_read_as_it_was(pods: tuple[KnownPod, ...]) -> None:
    assert JobStatus.model_validate({"pods": [each.dump() for each in pack(pods)]}).pods == pods


ENTRY = {"index": PACKED, "uid": "", "incarnation": 1}
DAMAGED = {
    "cut": [ENTRY | {"uid": "AAAA"}],
    "no base64": [ENTRY | {"uid": "?" * 28}],
    "more than a job has": [ENTRY | {"uid": base64.b64encode(bytes(20) * (MAX_PODS + 1)).decode()}],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_damaged_is_no_status_and_nothing_is_done_on_it(damage: str) -> None:
    with pytest.raises(ManifestError, match=r"status\.pods: "):
        read_status({"pods": DAMAGED[damage]})


BEFORE = """
import json, sys
from plan_jobs import a_job, a_pod
from dtj_api.status import JobStatus
from dtj_operator.plan import plan
asked = json.load(sys.stdin)
job = a_job().replicas(len(asked["uids"]), least=1).running()
for index, uid in enumerate(asked["uids"]):
    job.without(index).pod(a_pod(index, uid=uid))
made = []
for ended in ((), asked["ended"]):
    for index in ended:
        job.end(index, 1)
    plans = [plan(job.stored(JobStatus.model_validate(each)).view()) for each in asked["forms"]]
    made.append([(each.status.dump(), [type(action).__name__ for action in each.actions]) for each in plans])
json.dump(made, sys.stdout)
"""
"""What an operator makes of forms of a status where all pods are there, and where some ended while no operator was."""


def test_the_operator_before_goes_on_with_a_large_job_as_if_it_could_read_its_pods(tmp_path: Path) -> None:
    """It takes none for lost that is there, and counts once what ended while no operator was there."""
    code = earlier.tree(tmp_path)
    environment = earlier.environment(code)
    environment["PYTHONPATH"] = os.pathsep.join((environment["PYTHONPATH"], str(code / "tests/support")))
    uids = [_uid(index) for index in range(PLAIN_PODS + 1)]
    status = plan(_trains(len(uids)).view()).status
    packed = status.dump()
    made_in = a_pod(0).incarnation
    plain = packed | {"pods": [each.dump() | {"incarnation": made_in} for each in status.pods]}
    assert [each["index"] for each in packed["pods"]] == [PACKED]

    asked = json.dumps({"forms": [plain, packed], "uids": uids, "ended": [200, 201]})
    run = [sys.executable, "-c", BEFORE]
    ran = subprocess.run(run, input=asked, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for (could_read, would_do), (read, does) in json.loads(ran.stdout):
        assert _without_time_of_write(read) == _without_time_of_write(could_read)
        assert does == would_do
    assert read_status(read).restarts.counted == 1
    assert read_status(read).counted_pods == (uids[200], uids[201])


def _without_time_of_write(status: dict[str, Any]) -> dict[str, Any]:
    """It writes at once what it can read, and in a moment what has only changed in its figures."""
    return {name: value for name, value in status.items() if name != "updatedAt"}
