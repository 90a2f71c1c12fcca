"""What each dropout of a model draws, as a function of seed, step, sample, module and element.

So a sample is masked alike on whatever rank, in whatever micro-batch and beside whatever others it is computed, and a
run goes on after a resize with the losses that it would have had. Nothing is remembered between two calls: the forward
of a gradient checkpoint draws the same again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from dtj_trainer.dropout.bits import drop, mix, signed

SITE = "dropout_site"
"""Attribute of every module of an adapted model: its `Site`."""


class Draws:
    """The keys of the samples that the model is called with next.

    Args:
        seed: of the job.
        names: names of the places that draw, each different.
        device: of the model.
    """

    def __init__(self, seed: int, names: Sequence[str], device: torch.device) -> None:
        self._seed = seed
        self._names = names
        self._sites = torch.tensor([_hash(name) for name in names], dtype=torch.int32, device=device)
        self._step = 0
        self._keys: torch.Tensor | None = None
        self._alone: torch.Tensor | None = None

    def begin(self, step: int) -> None:
        """Draw for a step, counted from 0. `use` comes before the model's next call."""
        self._step = _hash(f"{self._seed}/{step}")
        self._keys = self._alone = None

    def use(self, samples: torch.Tensor) -> None:
        """Say whom the rows of the coming calls belong to.

        Args:
            samples: int64 (rows,), each sample's index in the data set; below 2^31.
        """
        step = mix(self._sites ^ self._step).unsqueeze(-1)
        self._alone = step
        self._keys = mix(mix(samples.to(torch.int32)) ^ step)

    def drop(self, x: torch.Tensor, site: int, p: float, first: int = 0) -> torch.Tensor:
        """`x` with the dropout of a place.

        What is not as long as there are samples in its first dimension (a table of positions) belongs to all of them:
        its elements are drawn for the step.

        Args:
            x: floats (rows, ...).
            site: index into `names`.
            p: above 0 and at most 1.
            first: where the second dimension begins in that of the whole tensor, of which this rank has a part.

        Raises:
            RuntimeError: `use` was not called in this step.
        """
        if self._keys is None or self._alone is None:
            raise RuntimeError("dropout was asked for before anybody said for which samples")
        if len(x) == self._keys.shape[1]:
            return drop(x, self._keys[site], p, first)
        warnings.warn(
            f"{self._names[site]} drops from a tensor whose first dimension is not the samples: if they are in another "
            "one, the loss depends on the number of ranks",
            stacklevel=2,
        )
        return drop(x.unsqueeze(0), self._alone[site], p).squeeze(0)


def _hash(text: str) -> int:
    return signed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big"))


class Site:
    """A module's place in the draws."""

    def __init__(self, draws: Draws, number: int) -> None:
        self._draws = draws
        self._number = number

    def drop(self, x: torch.Tensor, p: float, first: int = 0) -> torch.Tensor:
        """As `Draws.drop`."""
        return self._draws.drop(x, self._number, p, first)


def site_of(module: nn.Module) -> Site:
    """The place of a module of an adapted model."""
    return cast(Site, getattr(module, SITE))


class SampleDropout(nn.Dropout):
    """nn.Dropout drawn by sample. In evaluation, or with p = 0, its input goes through."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Floats (rows, ...) to the same."""
        return site_of(self).drop(input, self.p) if self.training and self.p else input
