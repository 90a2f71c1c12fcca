"""The store's server and its links: who holds the key is served, and nobody can hold up the others."""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_thread import HOST, KEY, StoreThread

from dtj_trainer.launch.store import server as store_server
from dtj_trainer.launch.store import wire as store_wire
from dtj_trainer.launch.store.link import StoreLink, StoreLostError

PATIENCE = 20.0


@pytest.fixture(scope="module")
def store():
    with StoreThread() as one:
        yield one


def until(what) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "never seen"
        time.sleep(0.01)


def stranger(store, *sent: bytes) -> list:
    """Somebody who speaks by hand: what it hears until the store closes, or falls silent."""
    frames, heard = store_wire.Frames(store_wire.MAX_FRAME), []
    with socket.create_connection((HOST, store.port), 5.0) as line:
        line.settimeout(1.0)
        with contextlib.suppress(OSError):
            for each in sent:
                line.sendall(each)
        with contextlib.suppress(OSError):
            while block := line.recv(65536):
                heard += frames.feed(block)
    return heard


def test_links_read_what_others_wrote(store):
    one, two, other = store.link(1), store.link(1), store.link(2)
    assert (one.get("k"), one.exists("k"), two.add("n", 0)) == (None, False, 0)
    one.set("k", "täglich \ud83d")
    assert (two.get("k"), two.exists("k"), other.exists("k")) == ("täglich \ud83d", True, False)
    assert (one.add("n", 2), two.add("n", -3), one.create("c", "1"), two.create("c", "2")) == (2, -1, "1", "1")
    one.drop("k")
    assert two.get("k") is None
    for link in (one, two, other):
        link.close()


def test_the_clients_of_the_lowest_incarnation_make_room_for_a_higher_one():
    with StoreThread() as one:
        links = [one.link(number) for number in (7, 9, 8, 10)]
        newest = one.link(11)
        with pytest.raises(StoreLostError, match="incarnation 3 is over: this store serves 8 and later ones"):
            one.link(3)
        with pytest.raises(StoreLostError):
            links[0].get("k")
        for link in (*links[1:], newest):
            assert link.add("n", 1) == 1
            link.close()


def test_a_watch_tells_at_once_and_holds_up_nothing(store):
    one, two = store.link(), store.link()
    told, late = threading.Event(), threading.Event()
    one.watch("watched", told.set)
    assert one.add("meanwhile", 1) == 1
    assert not told.is_set()
    two.set("watched", "x")
    assert told.wait(PATIENCE)
    one.watch("watched", late.set)
    assert late.wait(PATIENCE)
    one.watch("never", pytest.fail)
    one.close()
    two.set("never", "x")
    two.close()


def test_who_does_not_hold_the_key_gets_nowhere(store):
    with pytest.raises(StoreLostError, match="it refuses us: the proof is not of this job's key"):
        store.link(key=b"another key")


def test_a_store_that_does_not_hold_the_key_is_not_believed():
    with StoreThread() as false:
        false.server.key_of = lambda *_: b"whatever"
        with pytest.raises(StoreLostError, match="does not hold the key of this job: it is another store"):
            false.link()


def test_what_was_overheard_opens_nothing(store):
    stores, clients = store_wire.nonce(), store_wire.nonce()
    proof = store_wire.client_proof(KEY, stores, clients, 1)
    heard = stranger(store, store_wire.frame({"nonce": clients, "incarnation": 1, "proof": proof}))
    assert heard[1:] == [{"refused": "the proof is not of this job's key"}]


def test_a_key_that_was_changed_is_read_anew():
    with StoreThread() as one:
        one.key = b"changed"
        one.link(key=b"changed").close()
        with pytest.raises(StoreLostError, match="the proof is not"):
            one.link()


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x),
            max_leaves=8,
        ).map(store_wire.frame),
    )
)
@settings(max_examples=60, deadline=None)
def test_no_stranger_whatever_it_says_is_served_or_disturbs_the_others(store, said):
    link = store.link()
    with socket.create_connection((HOST, store.port), 5.0) as line:
        line.sendall(said)
        assert link.add("well", 1) > 0
    link.close()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ((store_wire.MAX_OPENING + 1).to_bytes(4), "a frame of 1025 bytes; the most is 1024"),
        ((5).to_bytes(4) + b"{{{{{", "a frame that is no JSON"),
        (store_wire.frame([1, "get", "k"]), "the first frame of a client has nonce, incarnation and proof"),
        (store_wire.frame({"nonce": "é", "incarnation": 1, "proof": "p"}), "in ASCII"),
    ],
)
def test_what_is_no_opening_is_refused_in_words(store, sent, why):
    assert why in json.dumps(stranger(store, sent)[1], ensure_ascii=False)


@pytest.mark.parametrize(
    ("operation", "key", "value", "why"),
    [
        ("burn", "k", [], "'burn' is no operation; there are check, get"),
        ("set", "k", [7], "its value is a text"),
        ("add", "k", ["x"], "no whole number"),
    ],
)
def test_what_is_refused_is_told_to_whoever_asked(store, operation, key, value, why):
    link = store.link()
    with pytest.raises(StoreLostError, match=why):
        link._call(operation, key, *value)
    with pytest.raises(StoreLostError, match=why):
        link.get("k")


def test_one_that_does_not_read_its_answers_is_let_go(monkeypatch):
    monkeypatch.setattr(store_server, "MAX_UNREAD", 64 * 1024)
    with StoreThread() as one:
        link, deaf = one.link(), one.link()
        link.set("large", "x" * 1_000_000)
        # Its thread is held up, so that nothing is taken from the socket.
        held = threading.Event()
        deaf.watch("large", lambda: held.wait(PATIENCE))
        until(lambda: len(one.server.clients) == 2)
        for _ in range(64):
            with contextlib.suppress(StoreLostError):
                deaf._send("get", "large", lambda *_: None)
            if len(one.server.clients) == 1:
                break
            link.add("n", 1)
        until(lambda: len(one.server.clients) == 1)
        assert link.get("large")
        held.set()
        link.close()


def test_the_oldest_stranger_goes_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(store_server, "MAX_CLIENTS", 3)
    monkeypatch.setattr(store_server, "FEWEST_STRANGERS", 3)
    with StoreThread() as one, contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection((HOST, one.port), 5.0)) for _ in range(5)]
        until(lambda: len(one.server.strangers) == 3)
        one.link().close()
        lines[0].settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            while lines[0].recv(1000):
                pass


def test_all_launchers_of_the_largest_job_may_come_in_one_instant(monkeypatch):
    """None of them has to come again because of the others: strangers have all places that no client has."""
    # Pydantic is in no foreign image, where the other tests of this file run too.
    from dtj_api.spec import MAX_WORKERS

    assert store_server.MAX_CLIENTS >= MAX_WORKERS
    monkeypatch.setattr(store_server, "MAX_CLIENTS", 40)
    monkeypatch.setattr(store_server, "FEWEST_STRANGERS", 3)
    with StoreThread() as one, contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection((HOST, one.port), 5.0))
        until(lambda: len(one.server.strangers) == 40)
        one.link().close()
        until(lambda: len(one.server.strangers) == 39)


def test_the_store_may_have_as_many_connections_as_the_system_lets_it(process):
    port_of(process)
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_stranger_that_says_nothing_is_let_go(monkeypatch):
    monkeypatch.setattr(store_wire, "OPENING_PATIENCE", 0.1)
    with StoreThread() as one, socket.create_connection((HOST, one.port), 5.0) as line:
        line.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            while line.recv(1000):
                pass
        until(lambda: not one.server.strangers)


def test_a_client_watches_so_many_keys_at_most(store):
    link = store.link()
    for number in range(store_server.MAX_WATCHES):
        link.watch(f"watched/{number}", lambda: None)
    with pytest.raises(StoreLostError, match="64 keys are watched; the most is 64"):
        link._call("watch", "one more")


@pytest.fixture
def process(tmp_path):
    """The store as it runs in its pod, with a grace of 30 s, and a soft limit of files as systems have it."""
    key = tmp_path / "key"
    key.write_bytes(KEY)
    env = {**os.environ, "DTJ_KEY_FILE": str(key), "DTJ_BIND_ADDRESS": HOST, "DTJ_GRACE_SECONDS": "30"}
    command = [sys.executable, "-m", "dtj_trainer.launch.store", "0"]
    files = [shutil.which("prlimit"), "--nofile=1024:"]
    with subprocess.Popen([*files, *command], env=env, stdout=subprocess.PIPE, text=True) as one:
        yield one
        one.kill()


def port_of(process) -> int:
    return int(process.stdout.readline().split()[-1])


def test_told_to_end_it_stays_while_somebody_is_connected(process):
    link = StoreLink(HOST, port_of(process), 1, KEY)
    process.send_signal(signal.SIGTERM)
    # A drain takes the others a moment later, and one may have to connect anew.
    second = StoreLink(HOST, int(link._where.rpartition(":")[2]), 1, KEY)
    assert link.add("n", 1) + second.add("n", 1) == 3
    link.close()
    assert second.add("n", 1) == 3
    assert process.poll() is None
    second.close()
    assert process.wait(PATIENCE) == 0


def test_told_to_end_with_nobody_connected_it_ends(process):
    port_of(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def test_it_imports_neither_torch_nor_anything_else_that_is_large():
    code = (
        "import sys, dtj_trainer.launch.store; print(sorted({'torch', 'numpy', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_it_says_so_and_ends(tmp_path, key):
    path = tmp_path / "key"
    if key is not None:
        path.write_text(key)
    log = tmp_path / "termination"
    env = {**os.environ, "DTJ_KEY_FILE": str(path), "DTJ_TERMINATION_LOG": str(log)}
    ran = subprocess.run([sys.executable, "-m", "dtj_trainer.launch.store"], env=env, capture_output=True, text=True)
    assert ran.returncode == 64
    assert str(path) in log.read_text()
    assert "Traceback" not in ran.stderr
