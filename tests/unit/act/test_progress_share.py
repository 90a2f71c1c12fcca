"""Progress writes share a cap, first come, first served."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dtj_operator.act.progress import ProgressShare


@given(asks=st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.5)), min_size=1, max_size=80))
def test_never_more_than_the_cap_and_nobody_waits_longer_than_those_before(asks):
    now = 0.0
    share = ProgressShare(per_second=10, clock=lambda: now)
    granted = []
    for key, gap in asks:
        now += gap
        wait = share.ask(key)
        assert wait <= 0.6 + 1e-9, "six jobs at ten a second"
        if wait == 0:
            granted.append(now)
    for i, start in enumerate(granted):
        in_a_second = [at for at in granted[i:] if at < start + 1]
        assert len(in_a_second) <= 17, "ten a second, and the six that had a place before"


def test_who_waits_keeps_its_place_however_often_it_asks():
    now = 0.0
    share = ProgressShare(per_second=10, clock=lambda: now)
    assert share.ask("a") == 0
    first = share.ask("b")
    assert share.ask("b") == first
    assert share.ask("c") > first
    now = first
    assert share.ask("b") == 0
    assert share.ask("c") > 0


def test_a_job_that_wrote_anyway_gives_its_place_up():
    share = ProgressShare(per_second=1, clock=lambda: 0.0)
    share.ask("a")
    share.ask("b")
    share.forget("b")
    assert share.ask("c") == 1, "the place of b"
    assert share.ask("b") == 2
