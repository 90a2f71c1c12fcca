"""What the rendezvous store holds: texts and counters by key, in spaces that know nothing of each other.

Each incarnation of a job has a space of its own. Bounds keep a client that has lost its way from taking the store, and
with it the job, along: what goes beyond them is refused in words, and all else is served as before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dtj_trainer.launch.store.wire import MAX_KEY

MAX_SPACES = 4
"""Incarnations that are kept: the highest ones."""
MAX_KEYS = 100_000
"""Keys of all spaces: three for each of ten thousand members, and the rounds."""
MAX_BYTES = 24 * 1024 * 1024
"""Bytes of all keys and values."""
MAX_COUNT = 2**63 - 1
_OVERHEAD = 150
"""Bytes that an entry costs beside its texts."""

Told = Callable[[], None]


class RefusedError(Exception):
    """An operation that is not served; the text says why."""


@dataclass
class Space:
    """The keys of one incarnation."""

    incarnation: int
    clients: set[Told] = field(default_factory=set)
    """What ends a client."""
    values: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, list[Told]] = field(default_factory=dict)
    """Who wants to know when a key has a value."""


class Table:
    """All spaces. Not thread-safe.

    Raises:
        RefusedError: from any method that takes a key: the key or the value is not allowed, or there is no room.
    """

    def __init__(self) -> None:
        self._spaces: dict[int, Space] = {}
        self._keys = self._bytes = 0

    def enter(self, incarnation: int, end: Told) -> Space:
        """A client enters the space of an incarnation, which is made where it is not there.

        Args:
            incarnation: which; the lowest one has to make room, and its clients with it: they are wanted elsewhere.
            end: ends this client.

        Raises:
            RefusedError: it is lower than those that are kept.
        """
        if incarnation not in self._spaces:
            if len(self._spaces) >= MAX_SPACES:
                lowest = min(self._spaces)
                if incarnation < lowest:
                    raise RefusedError(f"incarnation {incarnation} is over: this store serves {lowest} and later ones")
                self._end(self._spaces.pop(lowest))
            self._spaces[incarnation] = Space(incarnation)
        space = self._spaces[incarnation]
        space.clients.add(end)
        return space

    def leave(self, space: Space, end: Told) -> None:
        """A client has gone."""
        space.clients.discard(end)

    def get(self, space: Space, key: str) -> str | None:
        """The value, or None where there is none."""
        return space.values.get(key)

    def set(self, space: Space, key: str, value: str) -> None:
        """Write a value."""
        if not isinstance(key, str) or not isinstance(value, str) or not 0 < len(key) <= MAX_KEY:
            raise RefusedError(f"a key is a text of 1 to {MAX_KEY} characters, and its value is a text")
        old = space.values.get(key)
        keys = self._keys + (old is None)
        size = self._bytes + _size(key, value) - (0 if old is None else _size(key, old))
        if keys > MAX_KEYS or size > MAX_BYTES:
            raise RefusedError(f"the store is full: {keys} keys of {MAX_KEYS}, {size} bytes of {MAX_BYTES}")
        self._keys, self._bytes = keys, size
        space.values[key] = value
        if old is None:
            for told in space.waiting.pop(key, ()):
                told()

    def add(self, space: Space, key: str, amount: int) -> int:
        """Add to a counter, which begins at 0; its new value. To add 0 makes no key."""
        text = space.values.get(key, "0")
        if not isinstance(amount, int) or not text.lstrip("-").isdecimal():
            raise RefusedError(f"{key} is no counter, or {amount!r} is no whole number")
        count = int(text) + amount
        if abs(count) > MAX_COUNT:
            raise RefusedError(f"{key} would become {count}; the most is {MAX_COUNT}")
        if amount:
            self.set(space, key, str(count))
        return count

    def create(self, space: Space, key: str, value: str) -> str:
        """Write a value where there is none yet; the one that stands then."""
        if key not in space.values:
            self.set(space, key, value)
        return space.values[key]

    def drop(self, space: Space, prefix: str) -> int:
        """Forget all keys that begin so; how many those were."""
        if not prefix:
            raise RefusedError("the prefix of the keys to drop is empty")
        gone = [key for key in space.values if key.startswith(prefix)]
        for key in gone:
            self._bytes -= _size(key, space.values.pop(key))
        self._keys -= len(gone)
        return len(gone)

    def watch(self, space: Space, key: str, told: Told) -> None:
        """Call once when the key has a value: now, if it has one."""
        if key in space.values:
            told()
        else:
            space.waiting.setdefault(key, []).append(told)

    def unwatch(self, space: Space, key: str, told: Told) -> None:
        """Do not call any more."""
        left = [each for each in space.waiting.get(key, ()) if each is not told]
        if left:
            space.waiting[key] = left
        else:
            space.waiting.pop(key, None)

    def _end(self, space: Space) -> None:
        self._keys -= len(space.values)
        self._bytes -= sum(_size(key, value) for key, value in space.values.items())
        for end in tuple(space.clients):
            end()


def _size(key: str, value: str) -> int:
    return len(key) + len(value) + _OVERHEAD
