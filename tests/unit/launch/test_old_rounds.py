"""What a newer round makes useless goes from the store: a job that restarts for weeks does not fill it."""

import threading
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtj_trainer.launch.incarnation.hang import tell_silent
from dtj_trainer.launch.meeting.meeting import KEPT_ROUNDS, Meeting
from dtj_trainer.launch.meeting.round import Member, Terms
from dtj_trainer.launch.store.table import Table

ROUNDS = 1000
OPENED = 200
"""Bytes that are left of a round: who comes late must see that it is over."""


class Link:
    """To a table in this process."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.space = table.enter(1, lambda: None)
        for name in ("get", "set", "add", "create", "drop", "watch"):
            setattr(self, name, partial(getattr(table, name), self.space))

    def exists(self, key):
        return key in self.space.values

    def check(self):
        """It is never lost."""

    def close(self):
        """It has no connection."""


def a_meeting(link, index=0, pause=lambda seconds: None):
    terms = Terms("run", 1, 2, join_timeout=20.0, last_call=0.0, heartbeat=60.0, heartbeat_misses=5)
    name = f"job-worker-{index:04d}"
    return Meeting(terms, lambda: link, Member(name, f"{name}/u", "127.0.0.1", 0, 1, False), pause)


@given(st.lists(st.sampled_from(["fails", "hangs", "looks", "is through", "leaves"]), min_size=1, max_size=6))
@settings(max_examples=3, deadline=None)
def test_the_bytes_of_a_thousand_rounds_are_those_of_a_few(ends):
    table = Table()
    link = Link(table)
    one = a_meeting(link)
    most = 0
    for number in range(1, ROUNDS + 1):
        one.next_rendezvous()
        assert one.round.number == number
        match ends[number % len(ends)]:
            case "hangs":
                tell_silent(link, one.round, {rank: "the process did not answer" for rank in range(100)})
            case "looks":
                link.set(f"round/{number}/volume/0", "x" * 500)
                link.add(f"round/{number}/volume/looked", 1)
            case "is through":
                one.all_done(first_time=True)
            case "leaves":
                link.add(f"round/{number}/phases", 1_000_001)
        one.open_next(number, "a traceback " * 300)
        if number == 2 * KEPT_ROUNDS * len(ends):
            most = table._bytes
    one.shutdown()
    assert table._bytes <= most + OPENED * ROUNDS
    assert {key.split("/")[1] for key in link.space.values if key.startswith("round/") and "opened" not in key} <= {
        str(number) for number in range(ROUNDS - KEPT_ROUNDS, ROUNDS + 2)
    }


@pytest.fixture
def after_many():
    """A store and a meeting that has gone through ten rounds."""
    link = Link(Table())
    one = a_meeting(link)
    for number in range(1, 11):
        one.next_rendezvous()
        one.open_next(number, f"end of {number}")
    yield link, one
    one.shutdown()


def test_who_comes_late_to_the_end_of_an_old_round_is_not_the_first(after_many):
    link, one = after_many
    late = a_meeting(link, 1)
    assert not late.open_next(3, "a failure that was long ago")
    one.next_rendezvous()
    assert one.round.number == 11, "and nobody goes back for it"


def test_a_launcher_that_stood_still_since_it_joined_comes_to_the_newest_round():
    link = Link(Table())
    stands, goes_on = threading.Event(), threading.Event()

    def pause(seconds):
        if not goes_on.is_set():
            stands.set()
            goes_on.wait()

    late, one = a_meeting(link, 1, pause), a_meeting(link)
    joins = threading.Thread(target=late.next_rendezvous, daemon=True)
    # It takes its place, and stands still before the round forms, which another one has joined as well.
    late._try_to_form, form = lambda *given: None, late._try_to_form
    joins.start()
    assert stands.wait(20)
    late._try_to_form = form
    one.next_rendezvous()
    for number in range(1, 11):
        one.open_next(number, "")
        one.next_rendezvous()
    goes_on.set()
    joins.join(20)
    assert late.round is not None
    assert late.round.number >= 11
    for each in (late, one):
        each.shutdown()


def test_a_launcher_that_stood_still_just_before_it_joined_meets_the_others_and_not_itself_in_a_round_that_is_over():
    link = Link(Table())
    late, one = a_meeting(link, 1), a_meeting(link)
    one.next_rendezvous()
    join = late._join

    def stands_still_and_joins(number):
        late._join = join
        for newer in range(number, number + 10):
            one.next_rendezvous()
            one.open_next(newer, "")
        join(number)

    late._join = stands_still_and_joins
    late.next_rendezvous()
    assert late.round.number >= 11
    for each in (late, one):
        each.shutdown()
