"""The control port: only the job's key speaks, for this pod alone, and never backwards."""

import dataclasses
import socket
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from dtj_api.wire import PATHS, POD_HEADER, SIGNATURE_HEADER, Meet, Release, Save, Stop, encode, sign
from dtj_trainer.launch.progress.board import Board
from dtj_trainer.launch.progress.stall import Timeout
from dtj_trainer.launch.serve.servers import Servers

MEET = Meet(5, 1, 1, "127.0.0.1:1")


def test_who_gets_a_report_finds_the_control_port_open(tmp_path):
    """The operator answers a first report with `meet` at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as probe:
        control, metrics = taken.getsockname()[1], probe.getsockname()[1]
        probe.close()
        settings = SimpleNamespace(bind="127.0.0.1", metrics_port=metrics, control_port=control)
        servers = Servers(settings, Board("uid", 0, "fork", Timeout()), tmp_path, lambda _: None, print)
        with pytest.raises(OSError, match="in use"):
            servers.start()
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", metrics), timeout=5):
            pass
        servers.close()


@pytest.fixture
def worker(start):
    job = start(1, "train.py", "1", meet=False)
    (one,) = job.workers
    job.wait("a worker that listens", one.report)
    return one


def post(worker, path, headers, body) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{worker.control_port}{path}", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def test_a_message_under_another_key_is_refused_and_does_nothing(worker):
    before = worker.report()
    for message in (MEET, Save(0, "x"), Release(0, 1), Stop(0, save=False)):
        status, _ = worker.send(message, key=b"another key")
        assert status == 403, message
    # The volume is tried at its own time.
    assert dataclasses.replace(worker.report(), volume=before.volume) == before
    assert before.state == "waiting"


def signed(worker, *, path="/v1/meet", uid=None, body=None, signed_path=None):
    body = encode(MEET) if body is None else body
    signature = sign(worker.key, signed_path or path, uid or worker.uid, body)
    return path, {POD_HEADER: uid or worker.uid, SIGNATURE_HEADER: signature}, body


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"uid": "another-pod"}, 403),
        ({"signed_path": "/v1/stop"}, 403),
        ({"body": b"{}"}, 400),
        ({"body": b"[]"}, 400),
        ({"body": encode(dataclasses.replace(MEET, min_nodes=0))}, 400),
        ({"body": encode(dataclasses.replace(MEET, min_nodes=2))}, 400),
        ({"body": encode(dataclasses.replace(MEET, store="nowhere"))}, 400),
        ({"body": b" " * (64 * 1024 + 1)}, 413),
        ({"path": "/v1/else"}, 404),
    ],
)
def test_a_message_that_is_not_right_is_refused(worker, change, status):
    assert post(worker, *signed(worker, **change)) == status
    assert worker.report().incarnation == 0


def test_a_body_that_was_changed_under_way_is_refused(worker):
    path, headers, _ = signed(worker)
    assert post(worker, path, headers, encode(dataclasses.replace(MEET, incarnation=6))) == 403
    assert post(worker, path, {}, encode(MEET)) == 403


def test_incarnations_only_rise(worker):
    assert worker.send(MEET)[0] == 200
    # The same one again is no news, with other terms it is a contradiction, and a lower one is a replay.
    assert worker.send(MEET)[0] == 200
    assert worker.send(dataclasses.replace(MEET, max_nodes=2))[0] == 409
    status, text = worker.send(dataclasses.replace(MEET, incarnation=4))
    assert (status, b"incarnation 4 is refused" in text) == (409, True)
    assert worker.report().incarnation == 5
    for stale in (Save(4, "x"), Release(4, 1), Stop(4, save=False)):
        assert worker.send(stale)[0] == 409
    assert worker.send(dataclasses.replace(MEET, incarnation=9))[0] == 200
    assert worker.report().incarnation == 9


def test_every_kind_of_message_has_a_path():
    assert set(PATHS.values()) == {Meet, Save, Release, Stop}


def test_a_client_that_says_nothing_holds_up_nobody(worker):
    silent = [socket.create_connection(("127.0.0.1", worker.metrics_port)) for _ in range(20)]
    try:
        assert worker.report(timeout=2.0)
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /progress?x=1 HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /else HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /progress HTTP/1.1\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 40000 + b"\r\n\r\n", b"431"),
    ],
)
def test_the_report_port_answers_and_refuses(worker, request_bytes, status):
    with socket.create_connection(("127.0.0.1", worker.metrics_port), timeout=5) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(100).split(b" ")[1] == status


def test_a_released_round_ends_and_the_next_one_forms(start):
    job = start(2, "train.py", "1000000")
    job.wait_step(2)
    old = job.pids()
    # Of another round: nothing happens; of this one, on one pod alone: all regroup.
    assert job.workers[0].send(Release(1, 7))[0] == 200
    assert job.workers[0].send(Release(1, 1))[0] == 200
    after = job.wait_step(2, round=2)
    assert {report.round for report in after} == {2}
    assert job.pids(1, 2)[0] != old[0]
    assert all(report.failures == () for report in after)
