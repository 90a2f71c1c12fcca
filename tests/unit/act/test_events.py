"""Events about jobs: each once, short enough for the API server, and light while they wait."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from dataclasses import dataclass, field, replace

import pytest
from api_faults import Fault
from fake_kube import FakeKube
from hypothesis import given
from hypothesis import strategies as st
from plan_jobs import a_job

from dtj_operator.act.events import NOTE_BYTES, WAITING, EventPoster, within
from dtj_operator.kube import errors
from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import EVENTS, Resource
from dtj_operator.plan.actions import Event

CHINESE = "数据集损坏: " + "、".join(f"第{line}行的标签「机构」无法识别 😀" for line in range(1, 120))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def posted(kube: FakeKube, poster: EventPoster) -> list[str]:
    task = asyncio.create_task(poster.run())
    await poster.flush(10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return [item["note"] for item in kube.all(EVENTS)]


@pytest.fixture
def kube():
    return FakeKube()


@pytest.fixture
def poster(kube):
    return EventPoster(kube, "operator-1", Clock())


@pytest.mark.parametrize("text", [CHINESE, "█" * 1024, "x" * 1025, "Ж" * 1000, "😀" * 300, "\ud800" * 2000])
async def test_a_long_text_in_any_script_is_posted_cut_between_two_characters(kube, poster, caplog, text):
    with caplog.at_level(logging.WARNING):
        poster.tell(a_job().view(), Event("Warning", "RankFailed", text))
        (note,) = await posted(kube, poster)
    assert not caplog.records
    assert NOTE_BYTES - 6 <= len(note.encode()) <= NOTE_BYTES
    assert note.endswith("…")
    assert text.encode(errors="replace").decode().startswith(note[:-1])
    assert "\ufffd" not in note


@given(st.text(), st.integers(10, 40))
def test_what_fits_is_left_as_it_is_and_the_rest_is_a_beginning(text, most):
    short = within(text, most)
    assert len(short.encode()) <= most
    assert short == text if len(text.encode()) <= most else text.startswith(short[:-1])


async def test_the_same_is_told_once_in_ten_minutes(kube, poster):
    event = Event("Normal", "Admitted", "taken")
    poster.tell(a_job().view(), event)
    poster.tell(a_job().view(), event)
    poster._clock.now = 601.0
    poster.tell(a_job().view(), event)
    assert await posted(kube, poster) == ["taken", "taken"]


async def test_one_that_could_not_be_posted_may_be_told_again(kube, poster):
    left = iter([Fault(errors.Forbidden("POST", "no"))])
    kube.fault_of = lambda call: next(left, None)
    poster.tell(a_job().view(), Event("Normal", "Admitted", "taken"))
    assert await posted(kube, poster) == []
    poster.tell(a_job().view(), Event("Normal", "Admitted", "taken"))
    assert await posted(kube, poster) == ["taken"]


async def test_a_defect_that_one_event_brings_out_keeps_no_other_from_being_posted(kube, poster, caplog):
    left = iter([Fault(RuntimeError("a defect"))])
    kube.fault_of = lambda call: next(left, None)
    poster.tell(a_job().view(), Event("Normal", "Admitted", "first"))
    poster.tell(a_job().view(), Event("Normal", "Admitted", "second"))
    assert await posted(kube, poster) == ["second"]
    assert "a defect" in caplog.text


async def test_what_waits_holds_no_view(poster):
    view = a_job().view()
    held = weakref.ref(view)
    poster.tell(view, Event("Normal", "Admitted", "x" * 100_000))
    del view
    gc.collect()
    assert held() is None
    assert [len(line) for line in poster._waiting.values()] == [1]
    assert all(len(told.event.message) <= NOTE_BYTES for told in poster._told)


@dataclass
class Hanging(FakeKube):
    """A server with a namespace whose webhook never answers."""

    posted: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """Notes of the events that were posted elsewhere."""

    async def create(self, resource: Resource, namespace: str | None, body: Object, *, dry_run: bool = False) -> Object:
        if namespace == "theirs":
            await asyncio.Event().wait()
        self.posted.put_nowait(body["note"])
        return await super().create(resource, namespace, body, dry_run=dry_run)


async def test_events_of_a_namespace_where_calls_hang_hold_up_none_of_another(caplog):
    kube = Hanging()
    poster = EventPoster(kube, "operator-1", Clock())
    posting = asyncio.create_task(poster.run())
    view = a_job().view()
    for text in ("one", "two"):
        poster.tell(replace(view, namespace="theirs", uid="theirs"), Event("Normal", "Admitted", text))
    for text in ("three", "four"):
        poster.tell(view, Event("Normal", "Admitted", text))
    async with asyncio.timeout(60):
        assert [await kube.posted.get(), await kube.posted.get()] == ["three", "four"]
        await poster._through.wait()
    await poster.flush(0.01)
    assert "2 events are left unposted" in caplog.text
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)


async def test_jobs_of_one_namespace_take_turns_and_each_job_s_events_stay_in_order(kube, poster):
    view = a_job().view()
    for number in range(5):
        poster.tell(replace(view, uid="talks"), Event("Normal", "Admitted", f"much {number}"))
    for number in range(2):
        poster.tell(replace(view, uid="quiet"), Event("Normal", "Admitted", f"little {number}"))
    order: list[str] = []
    create = kube.create

    async def note(resource, namespace, body, **more):
        order.append(body["note"])
        return await create(resource, namespace, body, **more)

    kube.create = note
    await posted(kube, poster)
    assert order == ["much 0", "little 0", "much 1", "little 1", "much 2", "much 3", "much 4"]


async def test_one_job_leaves_room_for_the_others_of_its_namespace(kube, monkeypatch):
    monkeypatch.setattr("dtj_operator.act.events.WAITING", 90)
    poster = EventPoster(kube, "operator-1", Clock())
    view = a_job().view()
    for number in range(200):
        poster.tell(replace(view, uid="talks"), Event("Normal", "Admitted", f"much {number}"))
    for number in range(5):
        poster.tell(replace(view, uid="quiet"), Event("Normal", "Admitted", f"little {number}"))
    notes = await posted(kube, poster)
    assert sorted(note for note in notes if note.startswith("little")) == [f"little {number}" for number in range(5)]
    assert len(notes) == 30 + 5


async def test_what_waits_of_all_namespaces_together_is_bounded_and_each_has_room(kube, monkeypatch):
    monkeypatch.setattr("dtj_operator.act.events.WAITING", 100)
    poster = EventPoster(kube, "operator-1", Clock())
    view, one = a_job().view(), Event("Normal", "Admitted", "taken")

    def tell(namespace: str, times: int) -> int:
        for number in range(times):
            poster.tell(replace(view, namespace=namespace, uid=f"{namespace}-{number}"), one)
        return len(poster._waiting[namespace])

    assert tell("theirs", 200) == 50
    assert tell("mine", 10) == 10
    for number in range(200):
        poster.tell(replace(view, namespace=f"other-{number}", uid=f"other-{number}"), one)
    assert sum(map(len, poster._waiting.values())) == 100


async def test_what_was_not_posted_when_a_leader_ended_is_posted_when_it_leads_again(kube, poster):
    away = asyncio.Event()
    create = kube.create

    async def hangs(*words, **more):
        away.set()
        await asyncio.Event().wait()

    kube.create = hangs
    poster.tell(a_job().view(), Event("Normal", "Admitted", "taken"))
    posting = asyncio.create_task(poster.run())
    await away.wait()
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    kube.create = create
    assert await posted(kube, poster) == ["taken"]
    assert not poster._waiting
    assert poster._room == WAITING
