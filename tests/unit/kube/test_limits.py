"""The client's own brake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_operator.kube.limits import TokenBucket


@given(
    rate=st.floats(0.5, 100),
    burst=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_in_no_stretch_of_time_more_than_burst_plus_rate(rate, burst, gaps):
    now = 0.0
    bucket = TokenBucket(rate, burst, clock=lambda: now)
    granted = []
    for gap in gaps:
        now += gap
        granted.append(now + bucket.reserve())
    granted.sort()
    for i, start in enumerate(granted):
        for j in range(i, len(granted)):
            assert j - i + 1 <= burst + rate * (granted[j] - start) + 1e-6


async def test_take_waits_as_long_as_it_says():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    bucket = TokenBucket(2, 1, clock=lambda: 0.0, sleep=sleep)
    assert [await bucket.take() for _ in range(3)] == [0, 0.5, 1.0]
    assert slept == [0.5, 1.0]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="positive"):
        TokenBucket(0, 1)
