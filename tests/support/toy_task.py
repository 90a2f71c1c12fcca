"""A second task, in one file: who is spoken of, told of a whole sentence. Imported by ranks in tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from trainer_jobs import train_job
from transformers import AutoModelForSequenceClassification

from dtj_api.trainer import DataConfig, TrainerConfig
from dtj_trainer.data.lines import read_lines
from dtj_trainer.data.splits import Splits, load_splits
from dtj_trainer.tasks.model import Built
from dtj_trainer.tasks.pretrained import Pretrained
from dtj_trainer.tasks.registry import KINDS, Kind
from dtj_trainer.tasks.task import Bars, Facts, Scores, Table

NAMES = ("people", "places", "firms")


@dataclass(frozen=True)
class Line:
    """A row of a file: the text, TAB, the name of what it speaks of."""

    text: str
    name: str

    @property
    def parts(self) -> tuple[str, str]:
        return self.text, self.name


@dataclass(frozen=True)
class Texts:
    """A batch."""

    inputs: dict[str, torch.Tensor]
    names: torch.Tensor
    samples: torch.Tensor

    def to(self, device: torch.device) -> Texts:
        moved = {name: value.to(device) for name, value in self.inputs.items()}
        return Texts(moved, self.names.to(device), self.samples.to(device))


def read(path: Path, config: DataConfig) -> list[Line]:
    rows = [line.split("\t") for line in read_lines(path, config.encoding) if line]
    return [Line(text, name) for text, name in rows]


class Toy:
    model_class = AutoModelForSequenceClassification

    def __init__(self, config: TrainerConfig, data: Splits[Line]) -> None:
        self._pretrained = Pretrained(config)
        self._data = data
        self.tokenizer = self._pretrained.tokenizer
        self.examples = {
            split: [(self.tokenizer(line.text)["input_ids"], NAMES.index(line.name)) for line in lines]
            for split, lines in data.named().items()
        }

    def identity(self) -> dict[str, Any]:
        return {"data": self._data.digest()}

    def facts(self) -> Facts:
        sizes = tuple((split, len(lines)) for split, lines in self._data.named().items())
        return Facts((Table("Sizes", ("split", "texts | all"), sizes),), {"digest": self._data.digest()})

    def build_model(self) -> Built:
        return self._pretrained.build(self.model_class, NAMES)

    def size(self, example: tuple[list[int], int]) -> int:
        return len(example[0])

    def weight(self, example: tuple[list[int], int]) -> int:
        return 1

    def collate(self, examples: Sequence[tuple[list[int], int]], samples: Sequence[int] = ()) -> Texts:
        rows = examples or [([0], -100)]
        inputs = dict(self.tokenizer.pad({"input_ids": [pieces for pieces, _ in rows]}, return_tensors="pt"))
        where = torch.tensor(samples or [-1] * len(rows))
        return Texts(inputs, torch.tensor([name for _, name in rows]), where)

    def loss(self, model: torch.nn.Module, batch: Texts) -> torch.Tensor:
        return functional.cross_entropy(model(**batch.inputs).logits.float(), batch.names, reduction="sum")

    def predict(self, model: torch.nn.Module, batch: Texts) -> list[list[float]]:
        rows: list[list[float]] = model(**batch.inputs).logits.float().softmax(-1).tolist()
        return rows

    def score(self, split: str, predicted: Sequence[Sequence[float]]) -> Scores:
        gold = [name for _, name in self.examples[split]]
        rows = []
        for name, word in enumerate(NAMES):
            right = [max(row) == row[name] for row, true in zip(predicted, gold, strict=True) if true == name]
            rows.append((word, sum(right) / max(len(right), 1), len(right)))
        likelihood = sum(math.log(row[name]) for row, name in zip(predicted, gold, strict=True))
        accuracy = sum(share * count for _, share, count in rows) / len(gold)
        bars = Bars("recall.png", "Found, by what is spoken of", ("recall",), below="texts")
        table = Table("By what is spoken of", ("name", "recall", "texts"), tuple(rows), bars=bars)
        return Scores("log likelihood", {"log likelihood": likelihood, "accuracy": accuracy}, (table,))


def train_toy(raw: dict[str, Any], crash_at: int = 0, whole: bool = False) -> dict[str, Any]:
    """As `train_job`, of this task."""
    KINDS["toy"] = Kind(lambda config: load_splits(config.data, read), Toy)
    return train_job(raw, crash_at, None, whole, "toy")
