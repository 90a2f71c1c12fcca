"""The tasks there are, by the name that `spec.trainer.task` has for them: the one place that lists them.

Each has two halves. Its data are read before torch is imported, for a mistake in a file is told in moments; the rest of
it comes with torch and transformers, which take seconds, and is imported when it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.readers import read_file
from dtj_trainer.data.sentences import Sentence
from dtj_trainer.data.splits import Splits, load_splits

if TYPE_CHECKING:
    from dtj_trainer.tasks.task import AnyTask


@dataclass(frozen=True)
class Kind:
    """One of the tasks there are."""

    read: Callable[[TrainerConfig], Any]
    """The data; an UntrainableError names file and line, or the field."""
    make: Callable[[TrainerConfig, Any], AnyTask]
    """The task of a job, with what `read` returned."""


def _ner(config: TrainerConfig, data: Splits[Sentence]) -> AnyTask:
    from dtj_trainer.tasks.ner import Ner

    return Ner(config, data)


KINDS: dict[str, Kind] = {
    "ner": Kind(lambda config: load_splits(config.data, read_file), _ner),
}
