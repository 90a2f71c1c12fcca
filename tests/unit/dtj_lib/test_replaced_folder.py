"""A folder that is replaced: whole at every moment, also for whoever comes after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dtj import files

KILLED = """
    import os, signal, sys
    from pathlib import Path
    from dtj.files import replaced_folder
    target, last = Path(sys.argv[1]), int(sys.argv[2])
    changes = 0
    def watch(event, arguments):
        global changes
        writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
        if writes or (event == "open" and arguments[1] == "w" and str(target.parent) in str(arguments[0])):
            changes += 1
            if changes > last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    with replaced_folder(target) as making:
        for name in ("one", "two"):
            (making / name).write_text("new")
"""
"""Replaces a folder, and is killed right before a change on the disk; the last change that is made is given."""


def replaced(target: Path, text: str) -> None:
    with files.replaced_folder(target) as making:
        for name in ("one", "two"):
            (making / name).write_text(text)


def content(folder: Path) -> set[str]:
    assert sorted(os.listdir(folder)) == ["one", "two"]
    return {path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("earlier", [True, False], ids=["another one is there", "none is there"])
def test_a_kill_at_any_moment_leaves_a_whole_one_which_the_next_one_replaces(tmp_path: Path, earlier: bool) -> None:
    seen: list[set[str]] = []
    for last in range(100):
        target = tmp_path / str(last) / "model"
        if earlier:
            replaced(target, "old")
        target.parent.mkdir(exist_ok=True)
        ran = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(target), str(last)], check=False)
        shown = [path for path in (target, target.with_name(".model.old")) if path.exists()]
        assert all(content(path) in ({"old"}, {"new"}) for path in shown), "half of one is there"
        assert shown or not earlier, "none is there"
        seen += [content(path) for path in shown[:1]]
        with files.replaced_folder(target) as making:
            assert target.exists() == bool(shown), "what was there went before the next one"
            (making / "one").write_text("next")
        assert (os.listdir(target.parent), os.listdir(target)) == (["model"], ["one"])
        if ran.returncode == 0:
            break
        assert ran.returncode == -signal.SIGKILL
    # Made, filled, moved, put in place, and what was there before removed.
    assert last >= (9 if earlier else 4)
    assert seen[-1] == {"new"}
    assert not earlier or seen[0] == {"old"}


def test_it_is_on_the_disk_before_it_has_its_name_and_by_its_name_before_the_earlier_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a machine that goes down at the wrong moment takes both along."""
    target = tmp_path / "model"
    replaced(target, "old")
    done = []

    def noted(name: str, real):
        def note(*arguments):
            done.append((name, *[str(Path(each).relative_to(tmp_path)).partition("gone-")[0] for each in arguments]))
            return real(*arguments)

        return note

    with files.replaced_folder(target) as making:
        (making / "one").write_text("new")
        for name in ("sync_tree", "sync_folder"):
            monkeypatch.setattr(files, name, noted(name, getattr(files, name)))
        monkeypatch.setattr(os, "rename", noted("rename", os.rename))
    assert [each for each in done if each != ("sync_folder", ".model.tmp")] == [
        ("sync_tree", ".model.tmp"),
        ("rename", "model", ".model.old"),
        ("rename", ".model.tmp", "model"),
        ("sync_folder", "."),
        ("rename", ".model.old", "."),
    ]


def test_what_fails_in_the_block_leaves_the_earlier_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    replaced(target, "old")
    with pytest.raises(FileNotFoundError), files.replaced_folder(target) as making:
        (making / "one").rename(making / "two")
    assert content(target) == {"old"}
    replaced(target, "next")
    assert (os.listdir(tmp_path), content(target)) == (["model"], {"next"})
