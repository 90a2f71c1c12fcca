"""What the executor does when a call fails: the rest is done, and what was counted is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from api_faults import Fault
from fake_kube import FakeKube
from operator_process import a_job as a_raw_job
from plan_jobs import a_job, a_pod

from dtj_api.scalars import Timestamp
from dtj_operator.act.executor import ActError, Executor
from dtj_operator.kube import errors
from dtj_operator.kube.resources import JOBS
from dtj_operator.observe.expectations import Expectations
from dtj_operator.observe.records import job_record
from dtj_operator.observe.view import JobView
from dtj_operator.observe.world import World
from dtj_operator.plan import plan
from dtj_operator.plan.actions import Create, DeletePod, Event
from dtj_operator.plan.value import Plan
from dtj_operator.render import Site


class Poster:
    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, _: Any, event: Event) -> None:
        self.told.append(event.reason)


class Refuses:
    """Takes no deletes."""

    async def delete(self, *_: Any, **__: Any) -> None:
        raise errors.Forbidden("DELETE pods", "not allowed")


def executor(client: Any, world: Any, poster: Any) -> Executor:
    links: Any = SimpleNamespace(want=lambda *_: None)
    return Executor(client, world, links, poster, lambda: None, Site())


async def test_a_call_that_fails_hides_no_event():
    view = a_job().replicas(2).running().view()
    world: Any = SimpleNamespace(expectations=Expectations())
    poster = Poster()
    delete = DeletePod("ner-worker-0001", "uid", "gone")
    made = Plan(view.status, actions=(delete,), events=(Event("Warning", "WorkerLost", "gone"),))

    with pytest.raises(ActError, match="not allowed"):
        await executor(Refuses(), world, poster).execute(view, made, write=False)

    assert poster.told == ["WorkerLost"]


async def test_what_waits_for_its_write_is_not_told_before_it():
    view = a_job().replicas(2).running().view()
    poster = Poster()
    later = view.status.model_copy(update={"incarnation": 17})
    made = Plan(later, write=True, events=(Event("Warning", "SlowRank", "rank 1"),))

    await executor(SimpleNamespace(), SimpleNamespace(), poster).execute(view, made, write=False)

    assert poster.told == []


class Cluster:
    """A job whose status is written through a server that lies."""

    def __init__(self) -> None:
        self.kube, self.poster = FakeKube(), Poster()
        job = a_raw_job("ner", 1)
        job["metadata"]["namespace"] = "default"
        self.job = job_record(self.kube.put(JOBS, job))
        self.world = World(self.kube, namespaces=(), wake=lambda key: None)

    async def write(self) -> None:
        view = JobView(
            now=0.0,
            name="ner",
            namespace="default",
            uid=self.job.uid,
            generation=1,
            resource_version=self.job.resource_version,
            created=0.0,
            spec=self.job.spec,
        )
        status = view.status.model_copy(update={"incarnation": 2, "updated_at": Timestamp(1.0)})
        made = Plan(status, write=True, events=(Event("Warning", "WorkerLost", "gone"),))
        await executor(self.kube, self.world, self.poster).execute(view, made, write=True)


async def test_a_write_that_landed_unanswered_and_was_tried_again_is_no_conflict():
    """The client tries again after a 500; the second try meets what the first one wrote."""
    cluster = Cluster()
    replace_once = cluster.kube.replace

    async def twice(*args: Any, **more: Any) -> Any:
        await replace_once(*args, **more)
        return await replace_once(*args, **more)

    cluster.kube.replace = twice  # type: ignore[method-assign]
    await cluster.write()
    assert cluster.poster.told == ["WorkerLost"]


async def test_a_write_that_landed_and_was_answered_by_an_error_is_done():
    cluster = Cluster()
    landed = Fault(errors.Unavailable("PUT", "context deadline exceeded", code=500), landed=True)
    cluster.kube.fault_of = lambda call: landed if call.verb == "replace" else None
    await cluster.write()
    assert cluster.poster.told == ["WorkerLost"]


@pytest.mark.parametrize("error", [errors.Conflict("PUT", "modified"), errors.Unavailable("PUT", "504")])
async def test_a_write_that_did_not_land_tells_nothing(error):
    cluster = Cluster()
    cluster.kube.fault_of = lambda call: Fault(error) if call.verb == "replace" else None
    with pytest.raises(type(error)):
        await cluster.write()
    assert cluster.poster.told == []


async def test_a_pod_that_is_going_already_is_not_waited_for():
    """The finalizer of somebody else keeps it: no event comes of the second delete."""
    pod = a_pod(0, deletion_at=1.0)
    view = a_job().replicas(1).running().view()
    object.__setattr__(view, "pods", (pod,))
    world: Any = SimpleNamespace(expectations=Expectations())

    async def delete(*_: Any, **__: Any) -> None:
        """It is done, and nothing happens."""

    made = Plan(view.status, actions=(DeletePod(pod.name, pod.uid, "by force", 0),))
    await executor(SimpleNamespace(delete=delete), world, Poster()).execute(view, made, write=False)
    assert world.expectations.wait(view.uid) == 0


class NamespaceThatGoes:
    def __init__(self) -> None:
        self.asked = 0

    async def create(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        raise errors.NamespaceGoing("POST pods", "it is being terminated")


async def test_a_job_whose_namespace_is_being_deleted_asks_for_nothing_again():
    view = a_job().replicas(2).admitted().started().view()
    made = plan(view)
    creates = [action for action in made.actions if isinstance(action, Create)]
    assert creates
    refused: dict[str, str] = {}
    nothing = SimpleNamespace(expect_create=lambda *_: None, not_created=lambda *_: None)
    world: Any = SimpleNamespace(lookups=SimpleNamespace(of=lambda _: SimpleNamespace(refused=refused)))
    world.expectations = nothing
    client: Any = NamespaceThatGoes()
    poster: Any = Poster()

    outcome = await executor(client, world, poster).execute(view, replace(made, actions=tuple(creates)), write=False)

    assert client.asked == len(creates)
    assert outcome.again is False
    assert refused == {}, "no condition says that somebody refuses it"
