"""How a round forms: the same members for all, within the bounds, in the order of names, whoever comes when."""

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from held_meetings import Held
from hypothesis import given, settings
from hypothesis import strategies as st
from store_thread import KEY, StoreThread
from torch.distributed.elastic.rendezvous.api import RendezvousClosedError, RendezvousTimeoutError

from dtj_api.names import Env
from dtj_api.wire import Meet, address
from dtj_trainer.launch.incarnation.attendance import meeting_of
from dtj_trainer.launch.meeting import meeting
from dtj_trainer.launch.meeting.meeting import Meeting
from dtj_trainer.launch.settings import Settings
from dtj_trainer.launch.store.link import StoreLink, StoreLostError


@pytest.fixture(scope="module")
def store():
    with StoreThread() as one:
        yield one


@pytest.fixture(autouse=True, scope="module")
def _shut_down():
    yield
    for each in Held.meetings:
        each.shutdown()


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_all_get_the_same_round_in_the_order_of_their_names(store, ranks, rand: random.Random):
    held = Held(store, len(ranks), len(ranks))
    meetings = [held.meeting(index, one) for index, one in enumerate(ranks)]
    order = list(range(len(ranks)))
    rand.shuffle(order)
    rounds = held.join(*(meetings[index] for index in order), after=[rand.random() * 0.05 for _ in order])
    for index, round in zip(order, rounds, strict=True):
        assert (round.number, round.place, round.members) == (1, index, rounds[0].members)
        assert (round.world_size, round.first_rank) == (sum(ranks), sum(ranks[:index]))
        assert len({member.port for member in round.members}) == len(ranks)


def test_fewer_than_the_minimum_do_not_form_a_round(store):
    held = Held(store, 2, 2, join_timeout=0.4)
    with pytest.raises(RendezvousTimeoutError, match="1 of 2 came"):
        held.join(held.meeting(0))


def test_enough_of_them_wait_for_the_last_call_and_no_longer(store):
    held = Held(store, 2, 3)
    rounds = held.join(held.meeting(0), held.meeting(2))
    assert [member.name for member in rounds[0].members] == ["job-worker-0000", "job-worker-0002"]
    held = Held(store, 2, 3, last_call=5.0)
    rounds = held.join(*map(held.meeting, range(3)), after=[0, 0, 0.3])
    assert len(rounds[0].members) == 3


def test_whoever_comes_late_opens_the_next_round_while_there_is_room(store):
    held = Held(store, 1, 2)
    first, second = held.meeting(0), held.meeting(1)
    held.join(first)
    assert not first.superseded()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(held.join, second)
        while not first.superseded():
            time.sleep(0.01)
        (round,) = held.join(first)
        assert late.result(20)[0].members == round.members
    assert (round.number, len(round.members)) == (2, 2)


def test_a_spare_stands_by_until_the_next_round_has_room(store):
    held = Held(store, 2, 2)
    first, second, spare = map(held.meeting, range(3))
    held.join(first, second)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(held.join, spare)
        time.sleep(0.3)
        assert not first.superseded()
        assert not waiting.done()
        assert first.open_next(1, "rank 1 failed")
        held.join(first)
        assert [member.name[-1] for member in waiting.result(20)[0].members] == ["0", "2"]


def test_only_the_first_reason_opens_a_round(store):
    held = Held(store, 2, 2)
    meetings = [held.meeting(0), held.meeting(1)]
    held.join(*meetings)
    assert meetings[1].open_next(1, "mine")
    assert not meetings[0].open_next(1, "too late")
    assert [meeting.superseded() for meeting in meetings] == [True, True]
    assert {round.number for round in held.join(*meetings)} == {2}


def test_a_member_that_falls_silent_is_left_behind(store):
    held = Held(store, 1, 2, last_call=0.2)
    alive, silent = held.meeting(0), held.meeting(1)
    held.join(alive, silent)
    while not alive.superseded():
        time.sleep(0.02)
    (round,) = held.join(alive)
    assert (round.number, len(round.members)) == (2, 1)


def test_a_member_that_was_through_may_fall_silent(store):
    held = Held(store, 2, 2, heartbeat=0.05, heartbeat_misses=3)
    busy, through = held.meeting(0), held.meeting(1)
    held.join(busy, through)
    assert not through.all_done(first_time=True)
    for _ in range(100):
        assert not busy.superseded(), "its pod may go: nobody waits for it"
        time.sleep(0.02)
    assert busy.all_done(first_time=True)


def test_members_that_beat_are_not_left_behind(store):
    held = Held(store, 2, 2, heartbeat=0.05, heartbeat_misses=3)
    meetings = [held.meeting(0), held.meeting(1)]
    held.join(*meetings)
    # Twenty times as long as a silent one would be given.
    for _ in range(150):
        assert not any(meeting.superseded() for meeting in meetings)
        time.sleep(0.02)


def test_the_end_is_when_all_have_said_done(store):
    held = Held(store, 2, 2)
    first, second = held.meeting(0), held.meeting(1)
    held.join(first, second)
    assert not first.all_done(first_time=True)
    assert not first.all_done(first_time=False)
    assert second.all_done(first_time=True)
    assert first.all_done(first_time=False)
    first.set_closed()
    with pytest.raises(RendezvousClosedError):
        held.join(held.meeting(2))


def test_an_incarnation_knows_nothing_of_another_one(store):
    one, two = Held(store, 1, 1), Held(store, 1, 1)
    (before,) = one.join(one.meeting(0))
    one.meeting(0).set_closed()
    (after,) = two.join(two.meeting(0, uid="v"))
    assert (before.number, after.number) == (1, 1)


def test_leaving_does_not_close_it_for_the_others(store):
    held = Held(store, 1, 2)
    first = held.meeting(0)
    held.join(first)
    first.shutdown()
    held.join(held.meeting(1))


def test_waiting_ends_when_the_launcher_is_wanted_elsewhere(store):
    held = Held(store, 2, 2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(held.join, held.meeting(0))
        held.stopped.set()
        with pytest.raises(InterruptedError):
            waiting.result(20)


def test_a_store_that_is_not_there_yet_is_waited_for_and_soon_told_as_lost(store, monkeypatch):
    """However long the members wait for each other."""
    monkeypatch.setattr(meeting, "REACH_PATIENCE", 0.5)
    held = Held(store, 1, 1, join_timeout=600.0)
    missing = Meeting(held.terms, refuse, held.meeting(0)._me, held.pause)
    with pytest.raises(StoreLostError):
        missing.next_rendezvous()


def refuse() -> StoreLink:
    raise StoreLostError("not there")


def test_a_launcher_meets_at_a_store_whose_address_is_of_version_6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.fail(f"this needs ::1 (`sysctl net.ipv6.conf.lo.disable_ipv6=0`): {error}")
    (tmp_path / "key").write_bytes(KEY)
    told = {
        Env.JOB_NAME: "ner", Env.JOB_UID: "u", Env.POD_NAME: "ner-worker-0000", Env.POD_UID: "p", Env.POD_IP: "::1",
        Env.KEY_FILE: str(tmp_path / "key"),
    }  # fmt: skip
    with StoreThread("::1") as store:
        message = Meet(1, 1, 1, address("::1", store.port))
        meeting = meeting_of(Settings.from_env(told), message, 1, time.sleep)
        meeting.next_rendezvous()
        assert [member.address for member in meeting.round.members] == ["::1"]
        meeting.shutdown()
