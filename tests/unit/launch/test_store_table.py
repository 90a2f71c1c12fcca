"""What the store holds is what was written, in the space where it was, and never more than there is room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_trainer.launch.store import table as store_table
from dtj_trainer.launch.store.table import RefusedError, Table

KEYS = st.sampled_from(["a", "b", "round/1/x", "round/1/y", "round/2/x"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.text(max_size=9)),
        st.tuples(st.just("create"), KEYS, st.text(max_size=9)),
        st.tuples(st.just("drop"), st.sampled_from(["round/1/", "a", "none"])),
        st.tuples(st.just("add"), st.sampled_from(["n", "m"]), st.integers(-5, 5)),
    ),
    max_size=40,
)


def nothing() -> None:
    """For a client that nobody ends."""


@given(STEPS)
def test_it_behaves_as_a_dictionary_and_accounts_for_each_byte(steps):
    table, plain = Table(), {}
    space = table.enter(1, nothing)
    for name, key, *value in steps:
        answer = getattr(table, name)(space, key, *value)
        if name == "set":
            plain[key] = value[0]
        elif name == "create":
            assert answer == plain.setdefault(key, value[0])
        elif name == "add":
            count = int(plain.get(key, "0")) + value[0]
            assert answer == count
            plain |= {key: str(count)} if value[0] else {}
        else:
            gone = [each for each in plain if each.startswith(key)]
            assert answer == len(gone)
            plain = {each: plain[each] for each in plain if each not in gone}
        assert space.values == plain
        assert (table._keys, table._bytes) == (
            len(plain),
            sum(len(each) + len(plain[each]) + store_table._OVERHEAD for each in plain),
        )


def test_whoever_watches_a_key_is_told_once_when_it_has_a_value():
    table, told = Table(), []
    space = table.enter(1, nothing)
    gone = lambda: told.append("gone")  # noqa: E731
    table.watch(space, "k", lambda: told.append("first"))
    table.watch(space, "k", gone)
    table.watch(space, "other", lambda: told.append("other"))
    table.unwatch(space, "k", gone)
    assert not told
    table.set(space, "k", "")
    table.set(space, "k", "again")
    assert told == ["first"]
    table.watch(space, "k", lambda: told.append("late"))
    assert told == ["first", "late"]


def test_incarnations_know_nothing_of_each_other_and_the_lowest_goes():
    table, ended = Table(), []
    spaces = {}
    for number in (5, 2, 4, 3):
        spaces[number] = table.enter(number, lambda number=number: ended.append(number))
        assert table.get(spaces[number], "k") is None
        table.set(spaces[number], "k", str(number))
    with pytest.raises(RefusedError, match="incarnation 1 is over: this store serves 2 and later ones"):
        table.enter(1, nothing)
    assert not ended
    table.enter(6, nothing)
    assert ended == [2]
    assert table._keys == 3
    assert table.get(table.enter(3, nothing), "k") == "3"
    table.leave(spaces[3], nothing)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("", "v", "a key is a text of 1 to 512 characters"),
        ("k" * 513, "v", "a key is a text of 1 to 512 characters"),
        ("k", 7, "its value is a text"),
        ("k", None, "its value is a text"),
    ],
)
def test_what_is_no_key_or_no_text_is_refused(key, value, why):
    table = Table()
    with pytest.raises(RefusedError, match=why):
        table.set(table.enter(1, nothing), key, value)


@pytest.mark.parametrize(("bound", "most"), [("MAX_KEYS", 2), ("MAX_BYTES", 2 * (store_table._OVERHEAD + 2))])
def test_a_full_store_refuses_what_is_new_and_serves_the_rest(monkeypatch, bound, most):
    monkeypatch.setattr(store_table, bound, most)
    table = Table()
    space = table.enter(1, nothing)
    table.set(space, "a", "1")
    table.set(space, "b", "1")
    with pytest.raises(RefusedError, match="the store is full"):
        table.set(space, "c", "1")
    table.set(space, "b", "2")
    assert table.drop(space, "a") == 1
    table.set(space, "c", "1")


@pytest.mark.parametrize(
    ("amount", "why"), [("1", "no whole number"), (2**63, "the most is"), (-(2**64), "the most is"), (1.5, "no whole")]
)
def test_a_counter_takes_whole_numbers_of_64_bits(amount, why):
    table = Table()
    space = table.enter(1, nothing)
    with pytest.raises(RefusedError, match=why):
        table.add(space, "n", amount)
    table.set(space, "text", "words")
    with pytest.raises(RefusedError, match="text is no counter"):
        table.add(space, "text", 1)
    with pytest.raises(RefusedError, match="the prefix of the keys to drop is empty"):
        table.drop(space, "")
