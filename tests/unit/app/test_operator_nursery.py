"""A forked operator is to its test what one with an interpreter of its own is."""

from __future__ import annotations

from pathlib import Path

import operator_nursery
import pytest

from dtj_trainer.launch.ranks.ranks import Zygote

USUAL, WIDE = 80, "200"
"""Columns that argparse fills; WIDE: by the variable COLUMNS."""


@pytest.fixture
def nursery(monkeypatch: pytest.MonkeyPatch) -> Zygote:
    """One that was begun by a test that had set a variable."""
    monkeypatch.setenv("COLUMNS", WIDE)
    begun = operator_nursery._zygote.__wrapped__()
    monkeypatch.delenv("COLUMNS")
    return begun


def width(nursery: Zygote, file: Path) -> int:
    """Of what an operator prints of its options."""
    with file.open("wb") as output:
        assert operator_nursery.Fork(nursery, ["run", "--help"], output.fileno()).wait(60) == 0
    return max(map(len, file.read_text().splitlines()))


def test_it_has_the_environment_of_its_test_and_of_no_test_before(
    nursery: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert width(nursery, tmp_path / "without") <= USUAL
    monkeypatch.setenv("COLUMNS", WIDE)
    assert width(nursery, tmp_path / "with") > USUAL
