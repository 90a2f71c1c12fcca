"""Everything a job remembers beside tensors: a small JSON file in the checkpoint that people can read.

There are no random states to restore. Dropout is a function of (seed, step, sample) and the order of samples one of
(seed, epoch), so a resumed run draws what the undisturbed one would have drawn, with any number of ranks.
"""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dtj import manifest
from dtj_trainer.checkpoint.curve import Curve
from dtj_trainer.untrainable import UntrainableError

FILE = "trainer.json"
FORMAT = 2
_BEST = "best_f1"
"""The best main score in the file: versions for which there was no other score read and write it by this name."""


class ResumeError(UntrainableError):
    """A checkpoint that this job must not go on from; the text says what differs and what to do."""


@dataclass
class EarlyStop:
    """The best evaluation so far and how many came since that were no better."""

    best: float = -1.0
    """Of the main score; nothing before the first evaluation, when `best_step` is below 0."""
    best_step: int = -1
    bad: int = 0

    def observe(self, score: float, step: int, min_delta: float) -> bool:
        """Take one evaluation in. Returns whether it is the best so far.

        The best is the highest score at all; one that is higher by less than `min_delta` still counts as bad.
        """
        first = self.best_step < 0
        self.bad = 0 if first or score > self.best + min_delta else self.bad + 1
        if not first and score <= self.best:
            return False
        self.best, self.best_step = score, step
        return True


@dataclass
class TrainState:
    """Progress of a job; the same on every rank."""

    identity: dict[str, Any]
    """What must be the same for a resume to mean anything: data, order and batch."""
    step: int = 0
    epoch: int = 0
    consumed: int = 0
    """Samples of the current epoch that are done."""
    samples: int = 0
    """Samples trained on since the job began."""
    tokens: int = 0
    """Word pieces without padding, likewise."""
    seconds: float = 0.0
    """Time spent in steps."""
    evaluated_step: int = -1
    stopped: bool = False
    """Early stopping has decided."""
    skipped: int = 0
    """Steps whose loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    early: EarlyStop = field(default_factory=EarlyStop)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    curve: Curve = field(default_factory=Curve)
    world_sizes: list[list[int]] = field(default_factory=list)
    """Pairs of (first step, ranks): each start of the job appends one."""

    def text(self, parameter_norm: float) -> str:
        """The content of the file, as of now.

        Args:
            parameter_norm: of all parameters together.
        """
        body = asdict(self)
        body["early"][_BEST] = body["early"].pop("best")
        return json.dumps({"format": FORMAT, "parameterNorm": parameter_norm, **body}, indent=1)

    @classmethod
    def read(cls, directory: Path, identity: dict[str, Any]) -> tuple[TrainState, float]:
        """The state in a checkpoint and the norm of its parameters.

        Raises:
            ResumeError: another format, or made from other data, order or batch.
            OSError: the volume failed.
        """
        try:
            body = json.loads((directory / FILE).read_text())
        except (FileNotFoundError, ValueError) as error:
            if FILE in (manifest.read(directory) or {}):
                # Summed a moment ago, perhaps on another machine.
                raise OSError(errno.EIO, f"cannot be read ({error})", str(directory / FILE)) from error
            raise ResumeError(f"{directory / FILE}: cannot be read ({error}); did this trainer make it?") from None
        if body.pop("format", None) != FORMAT:
            raise ResumeError(
                f"{directory / FILE}: its format is not {FORMAT}; resume it with the version that wrote it"
            )
        made_with = body["identity"]
        for name, now in identity.items():
            # What an earlier version did not write down may be the same.
            then = made_with.get(name, now)
            if then != now:
                raise ResumeError(
                    f"{directory} was made with {name} = {then!r}, the job has {now!r}; set it back or use another "
                    "checkpoint path"
                )
        norm = float(body.pop("parameterNorm"))
        body.pop("ranks", None)
        body["identity"] = identity
        best = body["early"].pop(_BEST)
        body["early"], body["curve"] = EarlyStop(best=best, **body["early"]), Curve(**body["curve"])
        return cls(**body), norm
