"""What a task is: all that the trainer asks of one. Whatever else is known of a task stays in its own file.

A task is made ready before the ranks meet, and each rank makes its own. Then the trainer holds examples, batches and
predictions without looking into them: it asks for sizes, losses and scores.

What a task answers with is for people and programs at once. A score has the name that its users know it by, so that the
report, its pictures and the best checkpoint can be told without knowing what was learnt; tables are drawn as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self, TypeVar

import torch

from dtj_trainer.tasks.model import Built

E = TypeVar("E")
"""An example: what one row of a batch is made of. Of a long text there may be several."""
B = TypeVar("B", bound="Batch")
"""A batch of them."""
P = TypeVar("P")
"""What is predicted for one of them; it is sent between ranks."""
Cell = str | int | float


@dataclass(frozen=True)
class Bars:
    """A picture of a table: a group of bars for each of its rows."""

    file: str
    """Its name in the report's folder."""
    title: str
    columns: tuple[str, ...]
    """The columns that are drawn, all from 0 to 1."""
    below: str
    """The column that stands below the name of a row: how much there is of it."""


@dataclass(frozen=True)
class Table:
    """A table of the report. A float is shown with four digits behind the point, everything else as it is."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """Each begins with its name."""
    total: tuple[Cell, ...] = ()
    """A last row over all others, which is told where there is no place for the table; empty: none."""
    bars: Bars | None = None


@dataclass(frozen=True)
class Scores:
    """How good the predictions of one split are."""

    main: str
    """Which of `values` decides on early stopping and on the best weights; higher is better."""
    values: dict[str, float]
    """By the name that users know a score by, in words: `F1 strict`."""
    tables: tuple[Table, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    """What programs find beside them under `test` in report.json."""

    @property
    def deciding(self) -> float:
        """The main score."""
        return self.values[self.main]

    def keyed(self, split: str) -> dict[str, float]:
        """The values by their keys."""
        return {key(split, name): value for name, value in self.values.items()}

    def body(self) -> dict[str, Any]:
        """As report.json has them."""
        return {**self.details, "main": self.main, "values": self.values, "tables": [asdict(t) for t in self.tables]}


def key(split: str, name: str) -> str:
    """What a score is called in checkpoints and in report.json: `F1 strict` on dev is `devF1Strict`."""
    return split + "".join(word[0].upper() + word[1:] for word in name.split())


@dataclass(frozen=True)
class Facts:
    """What is known of a job's data."""

    tables: tuple[Table, ...]
    details: dict[str, Any]
    """What programs find beside them under `data` in report.json."""

    def body(self) -> dict[str, Any]:
        """As report.json has them."""
        return {**self.details, "tables": [asdict(table) for table in self.tables]}


class Batch(Protocol):
    """Tensors whose first dimension is the examples."""

    @property
    def samples(self) -> torch.Tensor:
        """Index of each example in its split, shape (examples,), int64; -1: not known."""

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""


class Task(Protocol[E, B, P]):
    """What is learnt, from what, and how good it is. What cannot be trained is found before step 0."""

    @property
    def examples(self) -> Mapping[str, Sequence[E]]:
        """By split: train, dev and test."""

    @property
    def model_class(self) -> Any:
        """What makes the exported model from its configuration: one of transformers' Auto classes."""

    @property
    def tokenizer(self) -> Any:
        """What goes into the export beside the model."""

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be gone on from: data, labels and the like, by field."""

    def facts(self) -> Facts:
        """What is known of the data, for the report."""

    def build_model(self) -> Built:
        """The model in fp32 on the CPU, not yet shared; the same weights on every rank for the same seed.

        Raises:
            UntrainableError: its files are not whole, or do not fit the data.
        """

    def size(self, example: E) -> int:
        """Pieces that it has without padding; examples of like size share a batch."""

    def weight(self, example: E) -> int:
        """Losses that `loss` adds up for it: labelled pieces, or 1. A step divides by the sum over all ranks."""

    def collate(self, examples: Sequence[E], samples: Sequence[int] = ()) -> B:
        """A batch. No examples give one of weight 0, which lets a rank without any enter the others' collectives.

        Args:
            examples: the rows.
            samples: their indices in the split; training needs them for dropout, evaluation does not.
        """

    def loss(self, model: torch.nn.Module, batch: B) -> torch.Tensor:
        """SUM of the losses of all that is learnt from a batch, fp32; whoever calls divides by the global count."""

    def predict(self, model: torch.nn.Module, batch: B) -> Sequence[P]:
        """One prediction an example, in order.

        Forwards of a shared model are collectives: there must be as many whatever is in the batch.
        """

    def score(self, split: str, predicted: Sequence[P]) -> Scores:
        """The scores of a whole split, by a prediction for each of its examples in order; asked of rank 0 alone.

        What belongs together, as the windows of one text, is put together here.
        """


AnyTask = Task[Any, Any, Any]
"""A task to whoever neither makes nor looks into what it works on."""
