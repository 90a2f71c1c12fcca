"""/metrics: shown to those who may see it and to nobody when in doubt, by a certificate that may change."""

from __future__ import annotations

import asyncio
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import trusting, write_certificate
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dtj_operator.kube import errors
from dtj_operator.kube.client import Object
from dtj_operator.kube.credentials import CredentialsError
from dtj_operator.kube.resources import ACCESS_REVIEWS, TOKEN_REVIEWS, Resource
from dtj_operator.telemetry.access import KEEP_SECONDS, KEPT, Access
from dtj_operator.telemetry.certificate import Certificate, CertificateError
from dtj_operator.telemetry.page import PageServer

OK, UNKNOWN, FORBIDDEN, AWAY = (
    HTTPStatus.OK,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


CLIENT = "10.0.0.1"


class Reviewer:
    """An API server that knows the token `good`, of an account that may read, and `other`, of one that may not."""

    def __init__(self) -> None:
        self.asked: list[tuple[Resource, Object]] = []
        self.fault: BaseException | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.hangs: set[str] = set()
        """Tokens about which it is asked and does not answer."""
        self.now = 0.0

    async def create(self, resource: Resource, namespace: str | None, body: Object, **_: Any) -> Object:
        assert namespace is None
        self.asked.append((resource, body["spec"]))
        await self.answers.wait()
        if self.fault is not None:
            raise self.fault
        spec = body["spec"]
        if spec.get("token") in self.hangs:
            await asyncio.Event().wait()
        if resource is TOKEN_REVIEWS:
            if spec["token"] not in ("good", "other"):
                return {"status": {"error": "unknown"}}
            user = {"username": f"sa:{spec['token']}", "uid": "7", "groups": ["all"], "extra": {"pod": ["p"]}}
            return {"status": {"authenticated": True, "user": user}}
        assert resource is ACCESS_REVIEWS
        return {"status": {"allowed": spec["user"] == "sa:good"}}

    def access(self, ask_seconds: float = 5.0) -> Access:
        client: Any = self
        return Access(client, clock=lambda: self.now, ask_seconds=ask_seconds)


ANSWERS = [
    ("Bearer good", OK),
    ("bearer  good ", OK),
    ("Bearer other", FORBIDDEN),
    ("Bearer nobodys", UNKNOWN),
    ("", UNKNOWN),
    ("Bearer", UNKNOWN),
    ("Bearer ", UNKNOWN),
    ("Basic good", UNKNOWN),
    ("good", UNKNOWN),
    # Bytes that are no UTF-8, as the server hands them on.
    ("Bearer \udcff", UNKNOWN),
]


@pytest.mark.parametrize(("header", "answer"), ANSWERS)
async def test_who_may_read(header: str, answer: HTTPStatus) -> None:
    assert await Reviewer().access().answer(header, CLIENT) is answer


async def test_the_api_server_is_asked_for_the_very_account_and_the_very_path() -> None:
    reviewer = Reviewer()
    await reviewer.access().answer("Bearer good", CLIENT)
    (_, token), (_, access) = reviewer.asked
    assert token == {"token": "good"}
    who = {"user": "sa:good", "uid": "7", "groups": ["all"], "extra": {"pod": ["p"]}}
    assert access == {**who, "nonResourceAttributes": {"path": "/metrics", "verb": "get"}}


@pytest.mark.parametrize("token", ["good", "other", "nobodys"])
async def test_an_answer_is_kept_for_a_minute_and_no_longer(token: str) -> None:
    reviewer = Reviewer()
    access = reviewer.access()
    first = await access.answer(f"Bearer {token}", CLIENT)
    asked = len(reviewer.asked)
    reviewer.now = KEEP_SECONDS - 1
    assert await access.answer(f"Bearer {token}", CLIENT) is first
    assert len(reviewer.asked) == asked
    reviewer.now = KEEP_SECONDS
    await access.answer(f"Bearer {token}", CLIENT)
    assert len(reviewer.asked) == 2 * asked


@pytest.mark.parametrize(
    "fault",
    [
        errors.Unavailable("POST", "no answer", code=0),
        errors.Forbidden("POST", "tokenreviews is forbidden"),
        errors.NotFound("POST", "no such resource"),
        CredentialsError("the token file is gone"),
    ],
)
async def test_without_the_api_server_nobody_reads_and_that_is_not_kept(fault: Exception) -> None:
    reviewer = Reviewer()
    access = reviewer.access()
    reviewer.fault = fault
    assert await access.answer("Bearer good", CLIENT) is AWAY
    reviewer.fault = None
    assert await access.answer("Bearer good", CLIENT) is OK
    reviewer.fault, reviewer.now = fault, KEEP_SECONDS
    assert await access.answer("Bearer good", CLIENT) is AWAY, "what was allowed a minute ago is no excuse"


async def test_an_api_server_that_does_not_answer_lets_nobody_in_and_holds_up_no_token_that_is_known() -> None:
    reviewer = Reviewer()
    access = reviewer.access(ask_seconds=0.05)
    assert await access.answer("Bearer good", CLIENT) is OK
    reviewer.answers.clear()
    strangers = [access.answer(f"Bearer {number}", CLIENT) for number in range(20)]
    assert await access.answer("Bearer good", CLIENT) is OK
    assert set(await asyncio.gather(*strangers)) == {AWAY}
    assert len(reviewer.asked) < 2 + 20, "few are asked about at once"


async def flood(reviewer: Reviewer, access: Access, clients: int = 1) -> list[asyncio.Task[HTTPStatus]]:
    """Fifty false tokens from each of some clients, none of which the API server has an answer to."""
    reviewer.hangs = {f"false-{number}" for number in range(50 * clients)}
    sent = [(token, f"10.9.9.{number % clients}") for number, token in enumerate(sorted(reviewer.hangs))]
    tasks = [asyncio.create_task(access.answer(f"Bearer {token}", client)) for token, client in sent]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def test_who_has_read_waits_for_no_stranger() -> None:
    reviewer = Reviewer()
    access = reviewer.access()
    assert await access.answer("Bearer good", CLIENT) is OK
    strangers = await flood(reviewer, access, clients=20)
    reviewer.now = KEEP_SECONDS
    async with asyncio.timeout(2):
        assert await access.answer("Bearer good", CLIENT) is OK
    reviewer.fault, reviewer.now = errors.Unavailable("POST", "no answer", code=0), 2 * KEEP_SECONDS
    assert await access.answer("Bearer good", CLIENT) is AWAY, "it is asked for again all the same"
    for each in strangers:
        each.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)


async def test_who_comes_for_the_first_time_waits_for_no_flood_of_one_client() -> None:
    reviewer = Reviewer()
    access = reviewer.access()
    strangers = await flood(reviewer, access)
    async with asyncio.timeout(2):
        assert await access.answer("Bearer good", CLIENT) is OK
    for each in strangers:
        each.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)


async def test_false_tokens_push_nobody_out_who_may_read() -> None:
    reviewer = Reviewer()
    access = reviewer.access()
    assert await access.answer("Bearer good", CLIENT) is OK
    for number in range(KEPT + 1):
        await access.answer(f"Bearer {number}", CLIENT)
    asked = len(reviewer.asked)
    assert await access.answer("Bearer good", CLIENT) is OK
    assert len(reviewer.asked) == asked


@pytest.mark.parametrize("status", [None, [], {"authenticated": "true"}, {"authenticated": True}, {"user": {}}])
async def test_an_answer_that_says_nothing_lets_nobody_in(status: Any) -> None:
    reviewer = Reviewer()

    async def create(*_: Any, **__: Any) -> Object:
        return {"status": status}

    reviewer.create = create  # type: ignore[method-assign]
    assert await reviewer.access().answer("Bearer good", CLIENT) is UNKNOWN


async def test_tokens_of_strangers_fill_no_memory() -> None:
    access = Reviewer().access()
    for number in range(KEPT + 50):
        await access.answer(f"Bearer {number}", CLIENT)
    assert len(access._refused) == KEPT
    assert not access._readers


class Loops(Collector):
    """Is collected once the event loop, where there is one to wait for, has turned meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        self.threads: list[threading.Thread] = []

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> list[GaugeMetricFamily]:
        self.threads.append(threading.current_thread())
        if self.loop is not None:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(10)
        return [GaugeMetricFamily("answer", "Of all.", 42)]


async def get(url: str, token: str = "", tls: Any = True) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, headers=headers, ssl=tls) as got:
        return got.status, await got.text()


async def test_the_page_is_made_off_the_event_loop_from_what_the_loop_saw() -> None:
    registry, loops, seen = CollectorRegistry(), Loops(asyncio.get_running_loop()), list[threading.Thread]()
    registry.register(loops)
    server = PageServer(registry, lambda: seen.append(threading.current_thread()))
    url = f"http://127.0.0.1:{await server.start('127.0.0.1', 0)}/metrics"
    status, text = await get(url)
    await server.close()
    assert (status, "answer 42.0" in text) == (200, True)
    assert seen == [threading.main_thread()]
    assert threading.main_thread() not in loops.threads


async def test_a_server_that_asks_for_tokens_speaks_tls_and_takes_a_new_certificate_while_it_runs(
    tmp_path: Path,
) -> None:
    registry = CollectorRegistry()
    registry.register(Loops())
    files = write_certificate(tmp_path)
    first = trusting(files[0])
    certificate = Certificate(*files, look_seconds=0.01)
    server = PageServer(registry, lambda: None, Reviewer().access(), certificate)
    url = f"https://127.0.0.1:{await server.start('127.0.0.1', 0)}/metrics"
    try:
        assert (await get(url, "good", first))[0] == 200
        assert (await get(url, "other", first))[0] == 403
        status, text = await get(url, "", first)
        assert (status, "answer" in text, "Bearer" in text) == (401, False, True)

        (tmp_path / "next").mkdir()
        new, key = write_certificate(tmp_path / "next")
        files[1].write_bytes(key.read_bytes())
        files[0].write_bytes(new.read_bytes())
        second = trusting(new)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert (await get(url, "good", second))[0] == 200
                    break
                except aiohttp.ClientConnectorCertificateError:
                    await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(url, "good", first)
    finally:
        await server.close()


def test_a_certificate_that_is_half_exchanged_is_not_taken(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    certificate = Certificate(*files)
    (tmp_path / "next").mkdir()
    new, key = write_certificate(tmp_path / "next")
    files[0].write_bytes(new.read_bytes())
    with pytest.raises(CertificateError, match=r"tls\.crt, --metrics-tls-key .*give the PEM files"):
        certificate.load()
    files[1].write_bytes(key.read_bytes())
    certificate.load()


def test_a_certificate_that_is_not_there_is_said_with_both_files(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="No such file"):
        Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
