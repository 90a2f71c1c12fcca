"""What of a lineage is removed: never what somebody may still stand on."""

import json
from pathlib import Path

from lineages import name, publish

from dtj.entry import STATE_FILE
from dtj.lineage import Lineage


def test_pruning_keeps_the_newest_on_the_chain_and_removes_what_is_off_it(incarnation):
    one, two = map(incarnation, (1, 2))
    one.begin()
    for step in (10, 20, 30):
        publish(one, step)
    two.begin()
    publish(one, 40)
    publish(two, 50)
    assert {path.name for path in two.prune(2)} == {"step-10.i1", "step-20.i1", "step-40.i1"}
    assert {path.name for path in two.prune(1)} == {"step-10.i1", "step-20.i1", "step-30.i1", "step-40.i1"}


def test_a_zombie_removes_nothing_of_what_its_successor_stands_on(incarnation):
    one, two, three = map(incarnation, (1, 2, 3))
    one.begin()
    two.begin()
    publish(two, 40)
    assert name(three.begin()) == "step-40.i2"
    for step in (50, 60, 70):
        publish(two, step)
    assert two.prune(1) == []
    assert name(incarnation(3).begin()) == "step-40.i2"


def mark(path: Path, best: object) -> None:
    state = json.loads((path / STATE_FILE).read_text())
    (path / STATE_FILE).write_text(json.dumps(state | {"best": best}))


def test_the_newest_that_is_marked_as_best_is_kept(incarnation):
    one = incarnation(1)
    one.begin()
    for step in (10, 20, 30, 40, 50):
        publish(one, step)
    mark(one.path(10), True)
    mark(one.path(20), True)
    mark(one.path(30), "yes")
    assert {path.name for path in one.prune(2)} == {"step-10.i1", "step-30.i1"}
    assert {path.name for path in one.prune(2, best=2)} == {"step-30.i1"}
    assert {path.name for path in one.prune(2, best=0)} == {"step-10.i1", "step-20.i1", "step-30.i1"}
    mark(one.path(50), True)
    assert {path.name for path in one.prune(2)} == {"step-10.i1", "step-20.i1", "step-30.i1"}


def test_the_best_of_an_earlier_incarnation_is_kept_and_that_of_a_zombie_is_not(incarnation):
    one, two = map(incarnation, (1, 2))
    one.begin()
    publish(one, 10)
    mark(one.path(10), True)
    publish(one, 20)
    assert name(two.begin()) == "step-20.i1"
    publish(one, 30)
    mark(one.path(30), True)
    for step in (25, 35):
        publish(two, step)
    assert {path.name for path in two.prune(1)} == {"step-20.i1", "step-30.i1", "step-25.i2"}
    assert {path.name for path in two.prune(1, is_valid=lambda path: path != one.path(10))} == {
        "step-10.i1",
        "step-20.i1",
        "step-30.i1",
        "step-25.i2",
    }


def test_what_was_written_where_nobody_noted_anything_is_found_and_never_removed(incarnation, tmp_path):
    """By a version that let scripts save that never asked what to restore; or somebody lost the folder of notes."""
    publish(incarnation(1), 30)
    publish(incarnation(2), 20)
    for number, job in ((3, "a"), (1, "b")):
        looked = Lineage(tmp_path, job, number, only_reads=True)
        assert name(looked.find()) == "step-20.i2"
        assert [each.name for each in looked.on_line()] == ["step-20.i2", "step-30.i1"]
    later = incarnation(1, job="b")
    assert name(later.begin()) == "step-20.i2"
    assert later.path(40).name == "step-40.i3"
    publish(later, 40)
    assert {path.name for path in later.prune(1)} == {"step-20.i2"}
    assert [each.name for each in Lineage.as_left(tmp_path).on_line()] == ["step-40.i3", "step-20.i2"]


def test_an_incarnation_that_has_not_been_entered_removes_nothing(incarnation):
    one = incarnation(1)
    one.begin()
    for step in (10, 20, 30):
        publish(one, step)
    assert incarnation(2).prune(1) == []
