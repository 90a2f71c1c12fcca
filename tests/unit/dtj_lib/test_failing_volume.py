"""A volume that fills up or turns read-only under saves costs no checkpoint: a few lives of the soak's many."""

from __future__ import annotations

from pathlib import Path

import failing_volume

import dtj


def test_what_was_published_is_restored_and_saves_go_on_once_the_volume_is_well(tmp_path: Path) -> None:
    found = failing_volume.run(tmp_path, lives=12, seed=2)
    assert found["full"] >= 2, found
    assert found["read-only"] >= 2, found
    assert found["saved again"] >= 2, found
    assert found["step"] > 12, found


def test_what_a_save_that_was_cut_off_left_over_makes_room_for_the_next_one(
    one_rank, tmp_path: Path, monkeypatch
) -> None:
    """Else a volume with room for one more than are kept takes no checkpoint ever again."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DTJ_SAVE_KEEP", "3")
    for step in (1, 2, 3):
        with dtj.checkpoint_dir(step) as path:
            (path / "model").touch()
    monkeypatch.setenv("DTJ_SAVE_KEEP", "2")
    with dtj.checkpoint_dir(4) as path:
        (path / "model").touch()
        there = {path.name for path in (tmp_path / "checkpoints").glob("step-*")}
    assert there == {"step-2.i1", "step-3.i1"}
