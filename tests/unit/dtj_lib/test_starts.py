"""The starts of a job are counted in its folder."""

import errno
import os
from pathlib import Path

import pytest

from dtj.lineage import Lineage


def test_starts_are_counted_by_job(tmp_path):
    lineage = Lineage(tmp_path, "a", 1)
    assert [lineage.count_start("a"), lineage.count_start("a"), lineage.count_start("b")] == [1, 2, 1]


@pytest.mark.parametrize("torn", ["", "x", "1\x00"])
def test_a_count_of_starts_that_was_torn_begins_anew(tmp_path, torn):
    lineage = Lineage(tmp_path, "a", 1)
    assert lineage.count_start("a") == 1
    (tmp_path / ".dtj/jobs/a.starts").write_text(torn)
    assert [lineage.count_start("a"), lineage.count_start("a")] == [1, 2], "it is an estimate, and no reason to fail"


def test_a_count_of_starts_is_replaced_and_never_cut_short(tmp_path, monkeypatch):
    lineage = Lineage(tmp_path, "a", 1)
    assert [lineage.count_start("a"), lineage.count_start("a")] == [1, 2]

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        for module, function in ((Path, "write_text"), (os, "fsync")):
            patch.setattr(module, function, full)
        assert lineage.count_start("a") == 0
    assert lineage.count_start("a") == 3
