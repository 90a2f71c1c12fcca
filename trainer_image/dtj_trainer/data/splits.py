"""Train, dev and test, and what leaks between them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from dtj_api.trainer import DataConfig
from dtj_trainer.data.locate import locate
from dtj_trainer.data.readers import read_file
from dtj_trainer.data.sentences import Sentence
from dtj_trainer.untrainable import UntrainableError


@dataclass(frozen=True)
class Splits:
    """The three splits; each has at least one sentence."""

    train: list[Sentence]
    dev: list[Sentence]
    test: list[Sentence]

    def named(self) -> dict[str, list[Sentence]]:
        """The splits by name, in order."""
        return {"train": self.train, "dev": self.dev, "test": self.test}

    def digest(self) -> str:
        """Hash of all words and tags in order: two runs with the same digest see the same data."""
        state = blake2b(digest_size=16)
        for name, sentences in self.named().items():
            state.update(f"\x1d{name}".encode())
            for sentence in sentences:
                state.update("\x1e".join((*sentence.words, *sentence.tags, "\x1f")).encode())
        return state.hexdigest()


def load_splits(config: DataConfig) -> Splits:
    """Read the files and divide them.

    Raises:
        UntrainableError: a file that cannot be trained on, with file and line; a missing file or package; a split that
            would be empty.
    """
    if config.split is None:
        parts = [
            read_file(locate(f"data.{name}", config.package, path), config)
            for name, path in (("train", config.train), ("dev", config.dev), ("test", config.test))
        ]
        return Splits(*parts)
    sentences = read_file(locate("data.file", config.package, config.file), config)
    return shuffle_split(sentences, config.split.shuffle_split, config.split.seed)


def shuffle_split(sentences: Sequence[Sentence], shares: Sequence[float], seed: int) -> Splits:
    """Disjoint and exhaustive: every sentence is in one split. Sizes are the shares rounded down, the rest is test.

    Raises:
        UntrainableError: a split would be empty.
    """
    order = list(sentences)
    random.Random(seed).shuffle(order)
    first = int(len(order) * shares[0] + 1e-9)
    second = first + int(len(order) * shares[1] + 1e-9)
    splits = Splits(order[:first], order[first:second], order[second:])
    for name, part in splits.named().items():
        if not part:
            raise UntrainableError(
                f"data.split.shuffleSplit: {len(order)} sentences leave none for {name}; give more data or other shares"
            )
    return splits


def leaks(splits: Splits) -> dict[str, int]:
    """Sentences whose words, case ignored, also stand in an earlier split, and duplicates within train."""
    train, dev, test = (
        [" ".join(sentence.words).lower() for sentence in part] for part in (splits.train, splits.dev, splits.test)
    )
    in_train, in_dev = set(train), set(dev)
    return {
        "trainDuplicates": len(train) - len(in_train),
        "devInTrain": sum(key in in_train for key in dev),
        "testInTrain": sum(key in in_train for key in test),
        "testInDev": sum(key in in_dev for key in test),
    }
