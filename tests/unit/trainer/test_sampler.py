"""The order of samples: a function of (seed, epoch), whatever the ranks; each sample once an epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_trainer.data.sampler import POOL, Cursor, ElasticSampler, micro_batches
from dtj_trainer.data.stream import stream

pytestmark = pytest.mark.unit

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=120)


@given(LENGTHS, st.integers(1, 16), st.integers(0, 3), st.integers(0, 3))
def test_every_sample_once_an_epoch_and_only_the_last_batch_is_short(lengths, size, seed, epoch):
    batches = ElasticSampler(lengths, size, seed).batches(epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in batches[:-1])


@given(st.lists(st.integers(), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 7))
def test_shares_are_disjoint_exhaustive_and_equally_cut(batch, world, limit):
    batch = list(range(len(batch)))
    shares = [micro_batches(batch, rank, world, limit) for rank in range(world)]
    assert sorted(i for share in shares for micro in share for i in micro) == batch
    assert len({len(share) for share in shares}) == 1
    assert all(len(micro) <= (limit or len(batch)) for share in shares for micro in share)
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def drawn(world: int, start: Cursor, steps: int, sampler: ElasticSampler) -> tuple[list[list[int]], Cursor]:
    """Global batches as the ranks of a world draw them, each with a sampler and a stream of its own."""
    batches, cursor = [], start
    sources = [stream(sampler, start, 9, rank, world, 2, list) for rank in range(world)]
    for _ in range(steps):
        parts = [next(source) for source in sources]
        assert len({part.cursor for part in parts}) == 1
        batches.append(sorted(i for part in parts for micro in part.micros for i in micro))
        cursor = parts[0].cursor
    for source in sources:
        source.close()
    return batches, cursor


def test_order_is_the_same_at_1_2_and_3_ranks_and_across_a_resize():
    lengths = [(7 * i) % 31 + 1 for i in range(53)]

    def fresh() -> ElasticSampler:
        return ElasticSampler(lengths, 5, 4)

    alone, end = drawn(1, Cursor(0, 0), 24, fresh())
    assert drawn(2, Cursor(0, 0), 24, fresh()) == (alone, end)
    assert drawn(3, Cursor(0, 0), 24, fresh()) == (alone, end)
    first, cursor = drawn(2, Cursor(0, 0), 9, fresh())
    second, cursor = drawn(3, cursor, 8, fresh())
    third, cursor = drawn(1, cursor, 7, fresh())
    assert first + second + third == alone
    assert cursor == end


def test_epochs_and_seeds_differ():
    lengths = [1] * 100
    orders = [ElasticSampler(lengths, 10, seed).batches(epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(order) for order in orders}) == 4


def test_length_groups_waste_little_padding():
    lengths = [(37 * i) % 60 + 3 for i in range(POOL * 8 * 2)]
    batches = ElasticSampler(lengths, 8, 0).batches(0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)
    assert [max(lengths[i] for i in b) for b in batches] != sorted(max(lengths[i] for i in b) for b in batches)


def test_a_cursor_within_a_batch_is_refused():
    with pytest.raises(ValueError, match="does not start a batch"):
        ElasticSampler([1] * 10, 4, 0).batch(Cursor(0, 3))


def test_the_stream_ends_with_the_last_epoch():
    sampler = ElasticSampler([1] * 10, 4, 0)
    assert len(list(stream(sampler, Cursor(0, 0), 2, 0, 1, 0, list))) == 6
    assert list(stream(sampler, Cursor(2, 0), 2, 0, 1, 0, list)) == []
