"""What the executor does when a call fails: the rest is done, and what was counted is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from plan_jobs import a_job

from dtj_api.wire import Meet
from dtj_operator.act.control import ControlError
from dtj_operator.act.executor import ActError, Executor
from dtj_operator.kube import errors
from dtj_operator.plan import plan
from dtj_operator.plan.actions import Create, Event, SendMeet
from dtj_operator.plan.value import Plan
from dtj_operator.render import Site


class DeafLauncher:
    async def send(self, *_: Any) -> None:
        raise ControlError("ner-worker-0001 does not answer")


class Poster:
    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, _: Any, event: Event) -> None:
        self.told.append(event.reason)


async def key(_: Any) -> bytes:
    return b"key"


async def test_a_launcher_that_does_not_answer_hides_no_event():
    view = a_job().replicas(2).running().view()
    world: Any = SimpleNamespace(
        jobs=SimpleNamespace(get=lambda *_: SimpleNamespace(uid=view.uid)), lookups=SimpleNamespace(key=key)
    )
    launcher: Any = DeafLauncher()
    poster: Any = Poster()
    executor = Executor(SimpleNamespace(), world, launcher, poster, lambda: None, Site())  # type: ignore[arg-type]
    meet = SendMeet("ner-worker-0001", "uid", "127.0.0.1", Meet(2, 2, 2, "127.0.0.1:1"))
    made = Plan(plan(view).status, actions=(meet,), events=(Event("Warning", "WorkerLost", "gone"),))

    with pytest.raises(ActError, match="does not answer"):
        await executor.execute(view, made, write=False)

    assert poster.told == ["WorkerLost"]


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
    executor = Executor(client, world, SimpleNamespace(), poster, lambda: None, Site())  # type: ignore[arg-type]

    outcome = await executor.execute(view, replace(made, actions=tuple(creates)), write=False)

    assert client.asked == len(creates)
    assert outcome.again is False
    assert refused == {}, "no condition says that somebody refuses it"
