"""Launchers are asked for their reports, within bounds, and only for as long as it matters."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from aiohttp import web

from dtj_api.wire import OTHER_KEY, Meet, Progress, Report, encode, verify
from dtj_operator.act.control import Address, Control, ControlError, KeyRefusedError
from dtj_operator.observe.reports import Reports

REPORT = Report("pod-1", 0, "training", 1, 1, 2, 0, progress=Progress(step=1))


class FakeLauncher:
    """Both ports of a launcher, on one."""

    def __init__(self) -> None:
        self.report = REPORT
        self.body: bytes | None = None
        self.status = 200
        self.asked = 0
        self.news = asyncio.Condition()
        self.hold: asyncio.Event | None = None
        self.messages: list[tuple[str, bytes, dict[str, str]]] = []

    async def start(self) -> int:
        app = web.Application()
        app.add_routes([web.get("/progress", self._answer), web.post("/v1/{what}", self._control)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def was_asked(self, times: int) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(lambda: self.asked >= times)

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        async with self.news:
            self.asked += 1
            self.news.notify_all()
        if self.hold:
            await self.hold.wait()
        body = self.body if self.body is not None else encode(self.report)
        return web.Response(body=body, status=self.status)

    async def _control(self, request: web.Request) -> web.Response:
        self.messages.append((request.path, await request.read(), dict(request.headers)))
        return await self._answer(request)


@pytest.fixture
async def launcher():
    launcher = FakeLauncher()
    launcher.port = await launcher.start()
    yield launcher
    await launcher.close()


@pytest.fixture
async def reports(launcher):
    changed: asyncio.Queue[str] = asyncio.Queue()
    intervals = {"pod-1": 0.01}
    reports = Reports(intervals.get, changed.put_nowait, port=launcher.port, timeout=0.5, clock=lambda: 7.0)
    reports.changed, reports.intervals = changed, intervals
    yield reports
    await reports.close()


async def change(reports) -> str:
    return await asyncio.wait_for(reports.changed.get(), 10)


async def test_a_pods_report_is_fetched_again_and_again(reports, launcher):
    reports.follow("pod-1", "127.0.0.1")
    reports.follow("pod-1", "127.0.0.1")
    assert await change(reports) == "pod-1"
    assert reports.of(["pod-1", "pod-2"])["pod-1"].report == REPORT
    assert reports.of(["pod-1"])["pod-1"].at == 7.0
    launcher.report = replace(REPORT, round=2)
    await change(reports)
    assert reports.of(["pod-1"])["pod-1"].report.round == 2


async def test_a_report_that_says_nothing_new_wakes_nobody(reports, launcher):
    reports.follow("pod-1", "127.0.0.1")
    await change(reports)
    before = launcher.asked
    await launcher.was_asked(before + 5)
    assert reports.changed.empty()


@pytest.mark.parametrize(("rank", "wakes"), [(0, True), (1, False)])
async def test_only_the_progress_of_rank_0_wakes_the_job(reports, rank, wakes):
    first = replace(REPORT, group_rank=rank)
    reports.accept("pod-1", first)
    reports.changed.get_nowait()
    reports.accept("pod-1", replace(first, progress=Progress(step=2)))
    assert reports.changed.empty() is not wakes
    assert reports.of(["pod-1"])["pod-1"].report.progress.step == 2, "it is kept all the same"


async def test_another_pod_under_the_same_address_is_not_believed(reports, launcher):
    launcher.report = replace(REPORT, pod_uid="another")
    reports.follow("pod-1", "127.0.0.1")
    await launcher.was_asked(3)
    assert reports.of(["pod-1"]) == {}


BAD = {"not json": b"{", "too long": b" " * 70_000, "not a report": b"{}"}


@pytest.mark.parametrize("what", BAD)
async def test_an_answer_that_cannot_be_read_is_no_report_and_ends_nothing(reports, launcher, what):
    launcher.body = BAD[what]
    reports.follow("pod-1", "127.0.0.1")
    await launcher.was_asked(2)
    assert reports.of(["pod-1"]) == {}
    launcher.body = None
    await change(reports)


@pytest.mark.parametrize("what", BAD)
async def test_an_answer_that_cannot_be_read_is_said_once_a_pod(reports, launcher, caplog, what):
    launcher.body = BAD[what]
    with caplog.at_level(logging.WARNING):
        reports.follow("pod-1", "127.0.0.1")
        await launcher.was_asked(4)
        (said,) = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        assert "pod-1" in said
        assert what != "too long" or "longer than 65536 bytes" in said
        reports.forget("pod-1")
        reports.follow("pod-1", "127.0.0.1")
        await launcher.was_asked(launcher.asked + 3)
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 2


async def test_a_pod_that_does_not_answer_is_no_warning(reports, launcher, caplog):
    await launcher.close()
    with caplog.at_level(logging.DEBUG):
        await reports._fetch("pod-1", "127.0.0.1")
    assert [each.levelno for each in caplog.records if each.name == "dtj_operator.observe.reports"] == [logging.DEBUG]


async def test_a_launcher_that_does_not_answer_is_remembered_until_it_does(reports, launcher):
    reports.accept("pod-1", REPORT)
    assert reports.unanswered(["pod-1"]) == {}
    await launcher.close()
    reports.follow("pod-1", "127.0.0.1")
    for _ in range(1000):
        if reports.unanswered(["pod-1"]):
            break
        await asyncio.sleep(0.01)
    assert reports.unanswered(["pod-1", "pod-2"]) == {"pod-1": 7.0}
    reports.stop("pod-1")
    reports.accept("pod-1", REPORT)
    assert reports.unanswered(["pod-1"]) == {}


async def test_one_whose_answer_cannot_be_read_did_answer(reports, launcher):
    launcher.body = b"{}"
    reports.follow("pod-1", "127.0.0.1")
    await launcher.was_asked(3)
    assert reports.unanswered(["pod-1"]) == {}


async def test_nothing_is_kept_of_a_pod_that_is_gone(reports, launcher):
    reports.follow("pod-1", "127.0.0.1")
    await change(reports)
    reports.forget("pod-1")
    await asyncio.sleep(0)
    kept = (reports._tasks, reports._now, reports._latest, reports._unanswered)
    assert not any(kept)


async def test_a_pod_that_leaves_is_asked_at_once_and_soon_again(reports, launcher):
    reports.intervals["pod-1"] = 3600
    reports.follow("pod-1", "127.0.0.1")
    await change(reports)
    before = launcher.asked
    reports.hurry("pod-2")
    reports.intervals["pod-1"] = 0.01
    reports.hurry("pod-1")
    await launcher.was_asked(before + 3)


async def test_a_job_that_is_done_is_asked_no_more(reports, launcher):
    reports.follow("pod-1", "127.0.0.1")
    await change(reports)
    reports.intervals.clear()
    task = reports._tasks["pod-1"]
    await asyncio.wait_for(task, 10)
    assert reports.of(["pod-1"]), "what was said last is kept"
    reports.forget("pod-1")
    assert not reports.of(["pod-1"])


async def test_no_more_than_so_many_are_asked_at_once(launcher):
    launcher.hold = asyncio.Event()
    reports = Reports(lambda uid: 10.0, lambda uid: None, port=launcher.port, parallel=3, timeout=30)
    for number in range(9):
        reports.follow(f"pod-{number}", "127.0.0.1")
    await launcher.was_asked(3)
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert launcher.asked == 3
    launcher.hold.set()
    await reports.close()


async def test_a_message_is_signed_for_its_pod_and_answered_with_a_report(launcher):
    control = Control(port=launcher.port)
    message = Meet(2, 1, 2, "10.0.0.1:29400")
    report = await control.send(Address("p", "pod-1", "127.0.0.1"), message, b"key")
    assert report == REPORT
    ((path, body, headers),) = launcher.messages
    assert path == "/v1/meet"
    assert body == encode(message)
    assert verify(b"key", path, "pod-1", body, headers["X-DTJ-Signature"])
    assert not verify(b"key", path, "pod-2", body, headers["X-DTJ-Signature"])
    await control.close()


async def test_a_refused_message_names_the_pod_and_the_reason(launcher):
    launcher.status, launcher.body = 403, b"a lower incarnation"
    control = Control(port=launcher.port)
    with pytest.raises(ControlError, match=r"/v1/meet to p at 127.0.0.1.*403.*lower incarnation"):
        await control.send(Address("p", "pod-1", "127.0.0.1"), Meet(1, 1, 1, "x"), b"key")
    await control.close()


async def test_a_signature_that_is_refused_is_told_from_a_message_that_is(launcher):
    control = Control(port=launcher.port)
    for status, body, refused in ((403, OTHER_KEY + b"\n", True), (403, b"RBAC", False), (409, b"no", False)):
        launcher.status, launcher.body = status, body
        with pytest.raises(ControlError) as raised:
            await control.send(Address("p", "pod-1", "127.0.0.1"), Meet(1, 1, 1, "x"), b"key")
        assert isinstance(raised.value, KeyRefusedError) is refused
    await control.close()


async def test_a_pod_that_is_not_there_is_an_error_of_its_own():
    control = Control(port=1, timeout=1)
    with pytest.raises(ControlError, match=r"127\.0\.0\.1"):
        await control.send(Address("p", "pod-1", "127.0.0.1"), Meet(1, 1, 1, "x"), b"key")
    await control.close()
