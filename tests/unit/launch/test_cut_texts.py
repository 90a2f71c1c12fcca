"""Texts that are too long are cut between two characters, in any script."""

from __future__ import annotations

import pytest

from dtj_trainer.launch.ranks.logs import TAIL_BYTES, RankLog
from dtj_trainer.launch.termination import MAX_BYTES, write_termination

TEXTS = ["第一行的标签无法识别", "😀", "Ж", "█▏", "a数"]


class Nowhere:
    def put(self, _: bytes) -> None:
        """Take a block."""


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shift", range(4))
def test_the_end_of_a_log_begins_with_a_whole_character(text, shift):
    log = RankLog(0, Nowhere(), None)
    log.feed((text * 2000)[: 2000 * len(text)].encode() + b"x" * shift)
    tail = log.tail()
    assert "\ufffd" not in tail
    assert TAIL_BYTES - 4 < len(tail.encode()) <= TAIL_BYTES


def test_what_is_no_text_in_a_log_is_still_shown_as_such():
    log = RankLog(0, Nowhere(), None)
    log.feed(b"a\xffb\n")
    assert log.tail() == "a\ufffdb"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shift", range(4))
def test_a_termination_message_is_whole_characters_at_both_cuts(tmp_path, text, shift):
    write_termination(tmp_path / "log", "x" * shift + text * 5000)
    written = (tmp_path / "log").read_bytes()
    assert MAX_BYTES - 8 < len(written) <= MAX_BYTES
    assert "\n...\n" in written.decode()
