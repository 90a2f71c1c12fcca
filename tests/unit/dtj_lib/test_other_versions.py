"""What another version of the library wrote is no damage: it is refused, and nothing is trained over it."""

import json

import pytest
from alone import save

import dtj
from dtj import manifest, restoring


@pytest.fixture
def job(one_rank, monkeypatch, tmp_path):
    """One rank under a launcher, with checkpoints of steps 10 and 20; the folder, and what the launcher is told."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DTJ_INCARNATION", "1")
    told = []
    monkeypatch.setattr(restoring.link, "send", lambda message: told.append(message) or True)
    assert dtj.latest_checkpoint() is None
    save(10)
    save(20)
    monkeypatch.setenv("DTJ_INCARNATION", "2")
    return tmp_path, told


def to_format(path, number):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("file", [f"checkpoints/step-20.i1/{manifest.FILE}", "lineage/1"])
def test_it_is_neither_passed_over_nor_set_aside(job, file):
    """It was, and the training went on from an older one: steps were lost because a worker had another image."""
    folder, told = job
    to_format(folder / file, 3)
    before = contents(folder)
    told.clear()
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=r"is of format 3, and this version of dtj knows \d: go on with"
        ) as error:
            dtj.latest_checkpoint()
        assert str(folder / file) in str(error.value)
        assert not isinstance(error.value, OSError), "no restart mends it"
    assert contents(folder) == before
    assert [each for each in told if each["type"] == "damaged"] == []


def test_a_script_that_only_saves_is_told_too(job):
    folder, _ = job
    to_format(folder / f"checkpoints/step-20.i1/{manifest.FILE}", 3)
    before = contents(folder)
    with pytest.raises(dtj.SaveError, match="is of format 3"):
        save(30)
    assert contents(folder) == before


def test_one_that_is_off_the_line_is_in_nobodys_way(job):
    folder, _ = job
    to_format(folder / f"checkpoints/step-10.i1/{manifest.FILE}", 3)
    assert dtj.latest_checkpoint().name == "step-20.i1"
    save(30)
