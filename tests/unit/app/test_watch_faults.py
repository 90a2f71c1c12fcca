"""What an API server, or what stands before it, does to watches: both get over it, and a lost worker comes back."""

from __future__ import annotations

from typing import Any

import pytest
from fake_apiserver import BREAK, FakeApiServer, fail_pod, pods_are_there, put_job
from operator_process import until

from dtj_api import names
from dtj_operator.kube.resources import JOBS, PODS

WORKER = names.worker_name("ner", 0)


@pytest.fixture
def operator(start):
    return start("--no-leader-election")


def of_jobs(request: Any) -> bool:
    return request.path.endswith(f"/{names.PLURAL}") and request.method == "GET"


def answer_watches(server: FakeApiServer, code: int, **headers: str) -> None:
    """The next two watches of jobs, one of each ear, get this answer; then all is well."""
    told: set[str] = set()

    def script(request: Any) -> Any:
        who = request.headers["User-Agent"]
        if not of_jobs(request) or "watch" not in request.query or who in told:
            return None
        told.add(who)
        return code, {"kind": "Status", "code": code, "message": "no"}, headers

    server.script = script
    server.kube.cut_watches()


def refuse_lists(server: FakeApiServer, code: int, **headers: str) -> None:
    """All jobs requests are answered so, a few of each ear: more than kopf has patience for."""
    told: list[str] = []

    def script(request: Any) -> Any:
        who = request.headers["User-Agent"]
        if not of_jobs(request) or told.count(who) >= 2:
            return None
        told.append(who)
        return code, {"kind": "Status", "code": code, "message": "slow down"}, headers

    server.script = script
    server.kube.cut_watches()


def gap(server: FakeApiServer) -> None:
    """Jobs are deleted while nobody watches, and the history is gone when they watch again."""
    server.kube.remove(JOBS, "gone")
    server.kube.compact()
    server.kube.cut_watches()


FAULTS = {
    "a deletion in a 410 gap": gap,
    "404": lambda server: answer_watches(server, 404),
    "410": lambda server: answer_watches(server, 410),
    "a date in Retry-After": lambda server: refuse_lists(
        server, 429, **{"Retry-After": "Mon, 30 Nov 2026 00:00:00 GMT"}
    ),
    "an error within the stream": lambda server: server.send_to_watches(
        {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcdserver: leader changed"}}
    ),
    "no JSON": lambda server: server.send_to_watches(b"<html>502 Bad Gateway</html>"),
    "an end": lambda server: server.kube.cut_watches(),
    "a break": lambda server: server.send_to_watches(BREAK),
}
KOPF_ENDS = {
    "404",
    "410",
    "a date in Retry-After",
    "an error within the stream",
    "no JSON",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_both_watches_get_over_it_and_a_lost_worker_comes_back(server, operator, fault):
    await operator.ready()
    put_job(server, "ner", 1)
    put_job(server, "gone", 1)
    await pods_are_there(server, 4)

    async def both_watch() -> bool:
        watching = {each.headers["User-Agent"] for each in server.requests if of_jobs(each) and "watch" in each.query}
        return len(watching) == 2

    await until(both_watch)
    FAULTS[fault](server)
    await until(fail_pod(server, WORKER))

    async def counted() -> bool:
        return 'source="kopf"' in await operator.metrics()

    if fault in KOPF_ENDS:
        await until(counted)
    put_job(server, "later", 1)

    async def later() -> bool:
        return any(pod["metadata"]["name"].startswith("later") for pod in server.kube.all(PODS))

    await until(later)
    if fault not in KOPF_ENDS:
        assert not await counted()
    assert ('job="gone"' in await operator.metrics()) == (fault != "a deletion in a 410 gap")
    assert operator.process.poll() is None


async def test_what_kopf_alone_hears_is_acted_on(server, operator):
    """The second ear: our own watch of jobs is silent, and a job starts all the same."""
    await operator.ready()

    def script(request: Any) -> Any:
        ours = request.headers["User-Agent"] == names.MANAGED_BY
        return (503, {"kind": "Status", "code": 503}, {}) if ours and of_jobs(request) else None

    async def kopf_listens() -> bool:
        return any("kopf" in each.headers["User-Agent"] and "watch" in each.query for each in server.requests)

    await until(kopf_listens)
    server.script = script
    server.kube.cut_watches()
    put_job(server, "ner", 1)
    await pods_are_there(server, 2)


async def test_health_shows_what_kopf_s_probe_says(server, operator):
    await operator.ready()

    async def shown() -> bool:
        code, text = await operator.health("/healthz")
        assert code == 200
        return "secondsSinceEvent" in text

    await until(shown)
