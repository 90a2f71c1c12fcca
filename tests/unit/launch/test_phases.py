"""One rank may evaluate, save or export for all: the pods of the others learn of it through the store."""

from dtj_trainer.launch.phases import LOOK, Phases
from dtj_trainer.launch.round import Round


class Store:
    def __init__(self):
        self.value = self.asked = 0

    def add(self, key, change):
        assert key == "round/3/phases"
        self.asked += 1
        self.value += change
        return self.value


class Pods:
    """The pods of a round, which look at the store at times of the test's choice."""

    def __init__(self, number=2):
        self.store, self.now = Store(), 100.0
        self.phases = [Phases(0.0) for _ in range(number)]
        for each in self.phases:
            each.begin(Round(3, (), 0))

    def look(self, pod, busy=False, after=LOOK):
        self.now += after
        return self.phases[pod].look(self.store, busy, self.now)


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
    assert pods.store.asked == asked + 1


def test_a_new_round_begins_with_nobody_in_a_phase():
    pods = Pods()
    pods.look(0, busy=True)
    pods.store = Store()
    for each in pods.phases:
        each.begin(Round(3, (), 0))
    assert not pods.look(1)
    assert not pods.look(0)
