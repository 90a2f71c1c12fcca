"""What a launcher answers sends the operator nowhere, costs it little and ends nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from dataclasses import replace

import pytest
from fake_launcher import REDIRECTS, REPORT, change

from dtj_api.wire import Meet, encode
from dtj_operator.act.control import Address, Control, ControlError
from dtj_operator.observe.reports import Reports


@pytest.mark.parametrize("uid", ["another", ""])
async def test_a_report_that_is_anothers_or_nobodys_is_not_believed(reports, launcher, uid):
    """An address is given to the next pod while the operator still asks there for the last one."""
    launcher.report = replace(REPORT, pod_uid=uid)
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await launcher.was_asked(3)
    assert reports.of(["pod-1"]) == {}


BAD = {"not json": b"{", "too long": b" " * 70_000, "not a report": b"{}"}


@pytest.mark.parametrize("what", BAD)
async def test_an_answer_that_cannot_be_read_is_no_report_and_ends_nothing(reports, launcher, what):
    launcher.body = BAD[what]
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await launcher.was_asked(2)
    assert reports.of(["pod-1"]) == {}
    launcher.body = None
    await change(reports)


@pytest.mark.parametrize("what", BAD)
async def test_an_answer_that_cannot_be_read_is_said_once_a_pod(reports, launcher, caplog, what):
    launcher.body = BAD[what]
    with caplog.at_level(logging.WARNING):
        reports.follow("pod-1", "127.0.0.1", "job-1")
        await launcher.was_asked(4)
        (said,) = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        assert "pod-1" in said
        assert what != "too long" or "longer than 65536 bytes" in said
        reports.forget("pod-1")
        reports.follow("pod-1", "127.0.0.1", "job-1")
        await launcher.was_asked(launcher.asked + 3)
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 2


@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_launcher_sends_the_operator_elsewhere(reports, launcher, victim, status):
    launcher.status, launcher.headers = status, {"Location": f"http://127.0.0.1:{victim.port}/progress"}
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await launcher.was_asked(2)
    assert victim.asked == 0
    assert reports.of(["pod-1"]) == {}
    assert reports.unanswered(["pod-1"]) == {}, "it did answer"


async def test_a_packed_answer_is_not_unpacked(launcher, reports, caplog):
    """A thousandth of what it becomes comes over the wire."""
    launcher.body, launcher.headers = gzip.compress(encode(REPORT)), {"Content-Encoding": "gzip"}
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await launcher.was_asked(2)
    assert reports.of(["pod-1"]) == {}
    assert "packed (gzip)" in caplog.text


async def test_nothing_is_kept_of_what_a_launcher_sets(launcher, reports):
    launcher.headers = {"Set-Cookie": "a=" + "x" * 4000}
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await launcher.was_asked(2)
    assert len(list(reports._session.cookie_jar)) == 0


class EndlessLauncher:
    """Answers, and never ends."""

    async def __aenter__(self) -> EndlessLauncher:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.sent = 0
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()

    async def _serve(self, reader, writer) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"1\r\n \r\n")
                    await writer.drain()
                    self.sent += 1
                    await asyncio.sleep(0.01)
        finally:
            writer.close()


async def test_an_answer_that_does_not_end_is_none(caplog):
    """A byte now and then is an answer to the socket, not to us."""
    async with EndlessLauncher() as launcher:
        reports = Reports({"pod-1": 0.01}.get, lambda uid: None, port=launcher.port, timeout=1.0)
        await asyncio.wait_for(reports._fetch("pod-1", "127.0.0.1"), 60)
        assert launcher.sent
        assert set(reports.unanswered(["pod-1"])) == {"pod-1"}
        await reports.close()
        control = Control(port=launcher.port, timeout=1.0)
        with pytest.raises(ControlError):
            await asyncio.wait_for(control.send(Address("p", "u", "127.0.0.1"), Meet(1, 1, 1, "x"), b"k"), 60)
        await control.close()
