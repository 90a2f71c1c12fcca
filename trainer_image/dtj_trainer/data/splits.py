"""Train, dev and test, and what leaks between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from dtj_api.trainer import DataConfig
from dtj_trainer.data.locate import locate
from dtj_trainer.untrainable import UntrainableError


class Row(Protocol):
    """What is read of one sample."""

    @property
    def text(self) -> str:
        """What is given to the model, as one text."""

    @property
    def parts(self) -> Sequence[str]:
        """All that is learnt from it: what has the same is the same sample."""


R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Splits(Generic[R]):
    """The three splits; each has at least one row."""

    train: list[R]
    dev: list[R]
    test: list[R]

    def named(self) -> dict[str, list[R]]:
        """The splits by name, in order."""
        return {"train": self.train, "dev": self.dev, "test": self.test}

    def digest(self) -> str:
        """Hash of all rows in order: two runs with the same digest see the same data."""
        state = blake2b(digest_size=16)
        for name, rows in self.named().items():
            state.update(f"\x1d{name}".encode())
            for row in rows:
                state.update("\x1e".join((*row.parts, "\x1f")).encode())
        return state.hexdigest()


def load_splits(config: DataConfig, read: Callable[[Path, DataConfig], list[R]]) -> Splits[R]:
    """Read the files and divide them.

    Args:
        config: spec.trainer.data.
        read: the rows of one file.

    Raises:
        UntrainableError: a file that cannot be trained on, with file and line; a missing file or package; a split that
            would be empty.
    """
    if config.split is None:
        parts = [
            read(locate(f"data.{name}", config.package, path), config)
            for name, path in (("train", config.train), ("dev", config.dev), ("test", config.test))
        ]
        return Splits(*parts)
    rows = read(locate("data.file", config.package, config.file), config)
    return shuffle_split(rows, config.split.shuffle_split, config.split.seed)


def shuffle_split(rows: Sequence[R], shares: Sequence[float], seed: int) -> Splits[R]:
    """Disjoint and exhaustive: every row is in one split. Sizes are the shares rounded down, the rest is test.

    Raises:
        UntrainableError: a split would be empty.
    """
    order = list(rows)
    random.Random(seed).shuffle(order)
    first = int(len(order) * shares[0] + 1e-9)
    second = first + int(len(order) * shares[1] + 1e-9)
    splits = Splits(order[:first], order[first:second], order[second:])
    for name, part in splits.named().items():
        if not part:
            raise UntrainableError(
                f"data.split.shuffleSplit: {len(order)} samples leave none for {name}; give more data or other shares"
            )
    return splits


def leaks(splits: Splits[R]) -> dict[str, int]:
    """Rows whose text, case ignored, also stands in an earlier split, and duplicates within train."""
    train, dev, test = ([row.text.lower() for row in part] for part in splits.named().values())
    in_train, in_dev = set(train), set(dev)
    return {
        "trainDuplicates": len(train) - len(in_train),
        "devInTrain": sum(key in in_train for key in dev),
        "testInTrain": sum(key in in_train for key in test),
        "testInDev": sum(key in in_dev for key in test),
    }
