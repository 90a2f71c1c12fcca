"""A plan is a value: readable, ordered, made of nothing but the view, whatever is in it."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_jobs import a_job, a_spec
from report_values import values_of
from status_numbers import refused_numbers

import dtj_operator.plan
import dtj_operator.render
from dtj_api.known_pods import KnownPod
from dtj_api.names import Component, Phase
from dtj_api.scalars import Timestamp
from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus, NewcomerStatus
from dtj_api.wire import Clock, Pace, Progress, Report
from dtj_operator.observe.view import DryRun, JobView, NodeView, PodView, Reported
from dtj_operator.plan import CreateWorker, DeletePod, Plan, SendMeet, plan

IO = {
    "aiohttp", "asyncio", "datetime", "io", "kopf", "kubernetes", "logging", "os", "pathlib", "prometheus_client",
    "random", "secrets", "socket", "subprocess", "sys", "threading", "time", "urllib", "uuid",
}  # fmt: skip


def test_a_plan_is_a_readable_list() -> None:
    text = str(plan(a_job().replicas(2).admitted().fields(foreign=()).view()))
    assert text.splitlines() == [
        "write status: phase Pending, incarnation 1",
        "create secret ner-key",
        "create store pod ner-store in incarnation 1",
        "create worker pod ner-worker-0000 in incarnation 1",
        "create worker pod ner-worker-0001 in incarnation 1",
        "event Normal Admitted: the API server takes the worker pods",
        "event Normal Created: creating 2 workers in incarnation 1",
    ]


def test_deletes_come_before_creates_and_messages_last() -> None:
    job = a_job().replicas(3).running().end(0, 143, disruption="EvictionByEvictionAPI").without(2)
    kinds = [type(act) for act in plan(job.view()).actions]
    order = [DeletePod, CreateWorker]
    assert [kind for kind in kinds if kind in order] == order
    assert SendMeet not in kinds


@pytest.mark.parametrize("package", [dtj_operator.plan, dtj_operator.render], ids=["plan", "render"])
def test_plan_and_render_import_no_clock_and_no_io(package) -> None:
    for file in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.partition(".")[0] for name in names} & IO, file.name


TIMES = st.one_of(st.floats(0, 4e9), st.sampled_from([0.0, 1.8e9, 1.8e9 + 31]))
INT64 = st.integers(0, 2**63 - 1)
UIDS = st.sampled_from(["a", "b", "c", "d"])
TEXTS = st.sampled_from(["", "Evicted", "Succeeded", "Failed", "Running", "Pending", "\x00odd\n", "training", "done"])
STATUSES = st.builds(
    lambda **fields: JobStatus().model_copy(update=fields),
    phase=st.sampled_from(list(Phase)),
    incarnation=st.integers(0, 4),
    oldest_incarnation=st.integers(0, 4),
    members=st.sampled_from([(), (0,), (0, 1), (1, 7)]),
    finished_members=st.sampled_from([(), (0,), (5,)]),
    min_members=st.integers(0, 3),
    counted_pods=st.sampled_from([(), ("a",), ("a", "zz")]),
    resumed_at=st.one_of(st.none(), TIMES.map(Timestamp)),
    create_after=st.one_of(st.none(), TIMES.map(Timestamp)),
    trained=st.integers(0, 4),
    in_vain=INT64,
    in_vain_at=st.one_of(st.none(), TIMES.map(Timestamp)),
    newcomers=st.builds(
        NewcomerStatus,
        in_vain=INT64,
        in_vain_at=st.one_of(st.none(), TIMES.map(Timestamp)),
        create_after=st.one_of(st.none(), TIMES.map(Timestamp)),
    ),
    pods=st.lists(st.builds(KnownPod, index=st.integers(0, 3), uid=UIDS, incarnation=st.integers(0, 4))).map(tuple),
)
PODS = st.builds(
    PodView,
    name=st.sampled_from(["ner-worker-0000", "ner-worker-0001", "ner-store", "else"]),
    uid=UIDS,
    component=st.sampled_from([Component.WORKER, Component.STORE, "", "other"]),
    index=st.integers(-3, 12),
    incarnation=st.integers(-1, 9),
    phase=TEXTS,
    created=TIMES,
    ip=st.sampled_from(["", "10.0.0.1", "::1"]),
    node=st.sampled_from(["", "n"]),
    reason=TEXTS,
    deletion_at=st.one_of(st.none(), TIMES),
)
REPORTS = st.builds(
    Report,
    pod_uid=UIDS,
    index=st.integers(-2, 3),
    state=TEXTS,
    incarnation=st.integers(-1, 6),
    round=st.integers(-1, 6),
    world_size=st.integers(-1, 6),
    group_rank=st.integers(-1, 6),
    progress=values_of(Progress),
    clock=values_of(Clock),
    paces=st.lists(values_of(Pace), max_size=2).map(tuple),
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_view_has_a_plan(data: st.DataObject) -> None:
    spec = a_spec(workers={"replicas": data.draw(st.integers(1, 3))}, suspend=data.draw(st.booleans()))
    view = JobView(
        now=data.draw(TIMES),
        name="ner",
        namespace="ml",
        uid="job",
        generation=data.draw(st.integers(0, 3)),
        resource_version="1",
        created=0.0,
        spec=data.draw(st.one_of(st.none(), st.just(JobSpec.model_validate(spec)))),
        deleting=data.draw(st.booleans()),
        managed_by=data.draw(st.sampled_from(["", "dtj.dev/operator", "other"])),
        status=data.draw(STATUSES),
        pods=tuple(data.draw(st.lists(PODS, max_size=4))),
        nodes=tuple(data.draw(st.lists(st.builds(NodeView, st.just("n"), st.booleans(), TIMES), max_size=1))),
        reports={uid: Reported(0.0, said) for uid, said in data.draw(st.dictionaries(UIDS, REPORTS)).items()},
        dry_run=data.draw(st.one_of(st.none(), st.just(DryRun("x", "no")))),
        foreign=tuple(data.draw(st.lists(st.sampled_from(["Pod/ner-store", "Pod/x"]), max_size=2))),
    )
    made = plan(view)
    assert isinstance(made, Plan)
    assert str(made)
    assert JobStatus.model_validate(made.status.dump()).dump() == made.status.dump()
    assert plan(JobView.from_json(view.to_json())) == made
    assert made.requeue_after is None or 0 < made.requeue_after < math.inf
    assert refused_numbers(made.status) == []
