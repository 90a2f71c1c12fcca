"""A store or operator that a thousand launchers are connected to has as many files open as the system lets it."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from dtj_api import open_files

NONE = resource.RLIM_INFINITY
NR_OPEN = 1_048_576


class Kernel:
    """What Linux and Python make of it: a hard limit above fs.nr_open is there, and cannot be set."""

    def __init__(self, limits: tuple[int, int], *, refuses: bool = False) -> None:
        self.limits = limits
        self.refuses = refuses

    def set(self, which: int, to: tuple[int, int]) -> None:
        soft, hard = (float("inf") if each == NONE else each for each in to)
        before = float("inf") if self.limits[1] == NONE else self.limits[1]
        if self.refuses:
            raise PermissionError(1, "Operation not permitted")
        if soft > hard:
            raise ValueError("current limit exceeds maximum limit")
        if hard > min(before, NR_OPEN):
            raise ValueError("not allowed to raise maximum limit")
        self.limits = to


def after(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, wanted: int | None, nr_open: Any) -> tuple[int, int]:
    monkeypatch.setattr(resource, "getrlimit", lambda which: kernel.limits)
    monkeypatch.setattr(resource, "setrlimit", kernel.set)
    monkeypatch.setattr(open_files, "_OF_THE_KERNEL", nr_open)
    open_files.raise_limit(wanted)
    return kernel.limits


@pytest.mark.parametrize(
    ("wanted", "before", "expected"),
    [
        (8192, (1024, 524288), (8192, 524288)),
        (8192, (1024, 4096), (4096, 4096)),
        (8192, (20000, 524288), (20000, 524288)),
        (8192, (NONE, NONE), (NONE, NONE)),
        (8192, (1024, NONE), (8192, NR_OPEN)),
        (8192, (1024, 2 * NR_OPEN), (8192, NR_OPEN)),
        (None, (1024, 524288), (524288, 524288)),
        (None, (1024, NONE), (NR_OPEN, NR_OPEN)),
        (None, (1024, 2 * NR_OPEN), (NR_OPEN, NR_OPEN)),
        (None, (4096, 4096), (4096, 4096)),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_it_may_be(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, wanted: int | None, before: Any, expected: Any
) -> None:
    nr_open = tmp_path / "nr_open"
    nr_open.write_text(f"{NR_OPEN}\n")
    assert after(Kernel(before), monkeypatch, wanted, nr_open) == expected


@pytest.mark.parametrize("before", [(1024, 524288), (1024, NONE)])
def test_where_nothing_may_be_raised_it_goes_on_with_what_it_has(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, before: Any
) -> None:
    """A sandbox may refuse it, and show no fs.nr_open."""
    assert after(Kernel(before, refuses=True), monkeypatch, None, tmp_path / "nowhere") == before
