"""One rank may evaluate, save or export for all: the pods of the others learn of it through the store."""

from types import SimpleNamespace

from dtj_trainer.launch.incarnation.agent import Agent, Change
from dtj_trainer.launch.meeting.phases import LOOK, Phases
from dtj_trainer.launch.meeting.round import Member, Round
from dtj_trainer.launch.ranks.ranks import Rank, RankExit

MEMBERS = tuple(Member(f"w-{i}", f"w-{i}/u", "127.0.0.1", 0, 1, True) for i in range(3))


class Store:
    def __init__(self):
        self.values = {"round/3/phases": 0, "round/3/done": 0}
        self.asked = 0

    def add(self, key, change):
        self.asked += 1
        self.values[key] += change
        return self.values[key]


class Pods:
    """The pods of a round, which look at the store at times of the test's choice."""

    def __init__(self, number=2):
        self.store, self.now = Store(), 100.0
        self.phases = [Phases(0.0) for _ in range(number)]
        for each in self.phases:
            each.begin(Round(3, MEMBERS[:number], 0))

    def look(self, pod, busy=False, after=LOOK):
        """Whether others excuse it."""
        self.now += after
        self.seen = self.phases[pod].look(self.store, busy, self.now)
        return self.seen.excuses


def test_where_nobody_is_in_a_phase_nobody_is_excused():
    pods = Pods()
    assert not any(pods.look(pod) for pod in (0, 1, 0, 1))


def test_a_phase_of_one_pod_excuses_the_others_for_as_long_as_it_lasts_and_once_after():
    pods = Pods(3)
    assert not pods.look(0, busy=True), "its own phase it knows of itself"
    for _ in range(3):
        assert pods.look(1)
        assert pods.look(2)
    assert not pods.look(0)
    assert pods.look(1), "until a moment ago"
    assert pods.look(2)
    assert not pods.look(1)
    assert not pods.look(2)


def test_a_phase_between_two_looks_is_not_missed():
    pods = Pods()
    pods.look(1)
    pods.look(0, busy=True, after=0.1)
    pods.look(0, busy=False, after=0.1)
    assert pods.look(1)
    assert not pods.look(1)


def test_two_at_once_are_one_excuse_each_for_the_other():
    pods = Pods()
    assert not pods.look(0, busy=True)
    assert pods.look(1, busy=True), "another one is in a phase too"
    assert pods.look(0, busy=True)
    pods.look(1)
    assert pods.look(0)
    assert not pods.look(0)


def test_a_change_is_told_at_once_and_otherwise_the_store_is_asked_seldom():
    pods = Pods()
    pods.look(0)
    asked = pods.store.asked
    for _ in range(5):
        pods.look(0, after=LOOK / 10)
    assert pods.store.asked == asked
    pods.look(0, busy=True, after=0.0)
    assert pods.store.asked == asked + 2, "and who has ended"


def test_a_new_round_begins_with_nobody_in_a_phase():
    pods = Pods()
    pods.look(0, busy=True)
    pods.store = Store()
    for each in pods.phases:
        each.begin(Round(3, MEMBERS[:2], 0))
    assert not pods.look(1)
    assert not pods.look(0)


def test_a_pod_in_a_phase_learns_whether_others_are_in_none():
    pods = Pods(3)
    told = []
    for pod, busy in ((0, True), (1, True), (0, True), (2, True), (0, True), (1, False), (0, True)):
        pods.look(pod, busy=busy)
        told.append(pods.seen.some_in_none)
    assert told == [True, True, True, False, False, True, True]


def test_between_two_looks_what_was_seen_last_holds():
    pods = Pods()
    pods.look(0, busy=True)
    pods.look(0, busy=True, after=0.0)
    assert pods.seen.some_in_none


def test_a_pod_whose_ranks_have_all_exited_is_waited_for_by_nobody():
    pods = Pods(3)
    pods.look(0, busy=True)
    for still_there in (True, False):
        assert pods.seen.some_in_none
        pods.store.add("round/3/done", 1)
        pods.look(0, busy=True)
        assert pods.seen.some_in_none == still_there


def test_a_rank_of_an_earlier_round_that_ends_late_has_left_no_phase_of_this_one():
    """It waited in the kernel, perhaps for the volume, and was gone on without."""
    left = []
    training = SimpleNamespace(ended=left.append)
    agent = Agent(SimpleNamespace(board=SimpleNamespace(training=training)), 1, 2)
    agent._meeting = SimpleNamespace(tick=10.0)
    earlier, *agent._ranks = (Rank(number, number % 2, None, agent._wishes.put) for number in (1, 2, 3))
    earlier.end(RankExit(1, -9, 0.0))
    agent.release(3)
    assert agent._watch(Round(3, MEMBERS, 1)) is Change.RELEASED
    assert left == []
    agent._ranks[0].end(RankExit(2, 0, 0.0))
    agent.release(3)
    assert agent._watch(Round(3, MEMBERS, 1)) is Change.RELEASED
    assert left == [0]
