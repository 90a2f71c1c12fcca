"""Only the chain is ever restored: nothing that a process writes after its job has moved on, and nothing torn."""

import contextlib
import errno
import json
import threading
from pathlib import Path

import pytest
from lineages import name, publish

from dtj.entry import STATE_FILE, Checkpoint, DamagedError
from dtj.lineage import Lineage, StaleError


def test_a_new_job_begins_anew(incarnation, tmp_path):
    assert incarnation(1).begin() is None
    assert json.loads((tmp_path / "lineage/1").read_text()) == {"restored": None}


def test_a_restart_within_an_incarnation_sees_what_it_saved(incarnation):
    one = incarnation(1)
    one.begin()
    publish(one, 20)
    publish(one, 100)
    assert name(one.begin()) == "step-100.i1"


def test_what_a_zombie_writes_is_never_restored(incarnation):
    one, two, three = map(incarnation, (1, 2, 3))
    one.begin()
    publish(one, 20)
    assert name(two.begin()) == "step-20.i1"
    publish(one, 40)
    assert name(two.begin()) == "step-20.i1"
    publish(two, 30)
    publish(one, 60)
    assert name(three.begin()) == "step-30.i2"
    publish(two, 50)
    assert name(three.begin()) == "step-30.i2"


def test_an_incarnation_that_saved_nothing_hands_on_what_it_restored(incarnation):
    one = incarnation(1)
    one.begin()
    publish(one, 20)
    for number in (2, 3, 7):
        assert name(incarnation(number).begin()) == "step-20.i1"


def test_a_zombie_is_told_that_it_is_one(incarnation):
    incarnation(1).begin()
    incarnation(2).begin()
    with pytest.raises(StaleError, match="incarnation 2 has begun"):
        incarnation(1).begin()


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"step": 41}'])
def test_a_torn_checkpoint_is_passed_over(incarnation, content):
    one = incarnation(1)
    one.begin()
    publish(one, 20)
    torn = publish(one, 40)
    (torn / STATE_FILE).unlink() if content is None else (torn / STATE_FILE).write_text(content)
    assert name(incarnation(2).begin()) == "step-20.i1"


def test_a_checkpoint_that_the_caller_refuses_is_passed_over(incarnation):
    one = incarnation(1)
    one.begin()
    publish(one, 20)
    publish(one, 40)
    two = incarnation(2)
    assert name(two.begin(lambda path: "40" not in path.name)) == "step-20.i1"
    # The choice is fixed: mended or not, the later one is off the chain now.
    assert name(two.begin()) == "step-20.i1"


def test_a_later_job_goes_on_in_the_folder_of_an_earlier_one(incarnation, tmp_path):
    for number in (1, 2, 3):
        incarnation(number).begin()
    publish(incarnation(3), 70)
    later = incarnation(1, job="b")
    assert name(later.begin()) == "step-70.i3"
    assert later.path(80).name == "step-80.i4"
    # The earlier job's pods may still run; they are zombies now.
    publish(incarnation(3), 90)
    assert name(incarnation(2, job="b").begin()) == "step-70.i3"


def test_a_look_finds_what_to_restore_and_leaves_nothing_behind(incarnation, tmp_path):
    def look(number, job="a"):
        return name(Lineage(tmp_path / "work", job, number, only_reads=True).find())

    assert look(1) is None
    assert not (tmp_path / "work").exists()
    one = Lineage(tmp_path / "work", "a", 1)
    one.begin()
    publish(one, 20)
    assert look(1) == look(2) == look(1, job="b") == "step-20.i1"
    assert sorted(path.name for path in (tmp_path / "work").rglob("*") if path.is_file()) == ["1", "a", "dtj.json"]
    Lineage(tmp_path / "work", "a", 2).begin()
    with pytest.raises(StaleError, match="incarnation 2 has begun"):
        look(1)
    (publish(one, 20) / STATE_FILE).unlink()
    with pytest.raises(DamagedError, match="move it away"):
        look(3)


def test_of_many_that_begin_at_once_all_get_the_same(tmp_path):
    one = Lineage(tmp_path, "a", 1)
    one.begin()
    publish(one, 10)
    found, barrier = [], threading.Barrier(8)

    def begin(index):
        lineage = Lineage(tmp_path, "a", 2)
        barrier.wait()
        # Every second one takes the checkpoint for damaged, and stops.
        with contextlib.suppress(DamagedError):
            found.append(name(lineage.begin(lambda _: index % 2 == 0)))

    threads = [threading.Thread(target=begin, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    restored = json.loads((tmp_path / "lineage/2").read_text())["restored"]
    # Whoever was first has fixed it; nobody sees more than that, and no temporary file is left.
    assert len(found) == 4
    assert set(found) == {restored} == {"step-10.i1"}
    assert [path.name for path in (tmp_path / "lineage").iterdir() if path.name.startswith(".")] == []


def test_whoever_is_first_fixes_the_choice(incarnation, tmp_path):
    one = incarnation(1)
    one.begin()
    publish(one, 10)
    publish(one, 20)
    first: list[str | None] = []

    def refuse_the_newest(path):
        # While this one still looks, another rank of the incarnation has begun it.
        if not first:
            first.append(name(incarnation(2).begin()))
        return "20" not in path.name

    incarnation(2).begin(refuse_the_newest)
    assert first == ["step-20.i1"]
    assert json.loads((tmp_path / "lineage/2").read_text()) == {"restored": "step-20.i1"}


@pytest.mark.parametrize(
    "text", ["step-1", "step-1.i", "step-x.i1", "step-1.i1.bad", ".draft-1.ab", "LATEST", "xstep-1.i1"]
)
def test_other_names_are_no_checkpoints(text):
    assert Checkpoint.parse(text) is None
    assert Checkpoint.parse("step-12.i3") == Checkpoint(3, 12)


def test_a_volume_that_fails_says_nothing_of_a_checkpoint(tmp_path, monkeypatch):
    """It would begin anew, and its first save would remove all that was there."""
    first = Lineage(tmp_path, "job", 1)
    first.begin()
    path = first.path(40)
    path.mkdir(parents=True)
    (path / "dtj.json").write_text('{"step": 40}')

    def fail(self):
        if self.name == "dtj.json":
            raise OSError(errno.ESTALE, "Stale file handle", str(self))
        return read(self)

    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", fail)
    second = Lineage(tmp_path, "job", 2)
    with pytest.raises(OSError, match="Stale file handle"):
        second.begin()
    assert not (tmp_path / "lineage" / "2").exists()
    assert first.prune(1) == []
    monkeypatch.undo()
    assert second.begin() == path


@pytest.mark.parametrize("content", ["", "{", '{"restorec": null}', "[]"])
def test_a_note_of_an_incarnation_that_is_damaged_is_named(tmp_path, content):
    """Whatever was guessed in its place might make what is whole look foreign, and remove it."""
    lineage = Lineage(tmp_path, "job", 1)
    lineage.begin()
    (tmp_path / "lineage/1").write_text(content)
    with pytest.raises(DamagedError, match=r"lineage/1 cannot be read; it should say"):
        Lineage(tmp_path, "job", 2).begin()
