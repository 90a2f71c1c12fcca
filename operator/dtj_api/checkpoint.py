"""`spec.checkpoint`: the volume that outlives the pods, and how often the job's state goes there."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from .base import IMMUTABLE, ApiModel, DnsName, Rule, with_rules

Path = Annotated[
    str, Field(min_length=1, max_length=200, pattern="^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$")
]
ONE_VOLUME = "needs exactly one of claimName (a claim that exists) and template (a claim to make)"


class ClaimTemplate(ApiModel):
    """A PersistentVolumeClaim to make."""

    spec: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
    """The claim's spec: accessModes, storageClassName, resources."""


class Volume(ApiModel):
    """The shared volume that holds checkpoints, logs and results. All workers must be able to write to it."""

    model_config = with_rules(Rule("has(self.claimName) != has(self.template)", ONE_VOLUME))

    claim_name: DnsName | None = None
    """A PersistentVolumeClaim of the job's namespace."""
    template: ClaimTemplate | None = None
    """A claim that the operator makes, named `<job>-checkpoint`."""
    retain: bool = True
    """Keep a claim made from `template` when the job is deleted. False: it goes with the job."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.claim_name is None) == (self.template is None):
            raise ValueError(ONE_VOLUME)
        return self


SOME_CADENCE = "needs steps, seconds or auto, or several of them"


class Every(ApiModel):
    """How often a checkpoint is saved: at whichever comes first."""

    model_config = with_rules(Rule("has(self.steps) || has(self.seconds) || self.auto", SOME_CADENCE))

    steps: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """A checkpoint at every multiple of this number of optimizer steps."""
    seconds: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Seconds between two checkpoints."""
    auto: bool = False
    """Also as often as what a save costs and how often the job is interrupted make it worth (Young and Daly), between
    30 s and an hour and for no more than 5 % of the time; `status.checkpoint.interval` says how often."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.steps is None and self.seconds is None and not self.auto:
            raise ValueError(SOME_CADENCE)
        return self


class OnFailure(StrEnum):
    """What a volume that fails means to the job."""

    CONTINUE = "Continue"
    """Training goes on without the save; the next one is tried when it is due."""
    FAIL = "Fail"
    """The job is Failed at once."""


class Checkpoint(ApiModel):
    """Where the job keeps its state, and how often."""

    model_config = with_rules(
        Rule("self.volume == oldSelf.volume", f"volume: {IMMUTABLE}", ".volume"),
        Rule(
            "has(self.path) ? has(oldSelf.path) && self.path == oldSelf.path : !has(oldSelf.path)",
            f"path: {IMMUTABLE}",
            ".path",
        ),
    )

    volume: Volume
    path: Path | None = None
    """The job's directory on the volume. Default: `<job>-<first 8 characters of its uid>`, so that a job that is made
    anew under an old name begins anew; name a path to go on from an older job's checkpoints."""
    every: Every = Every(seconds=600)
    keep: Annotated[int, Field(ge=1, le=1000)] = 3
    """Checkpoints kept; older ones are removed once a newer one is published."""
    keep_every: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Steps: checkpoints of every multiple of it are kept too. Default: none."""
    memory_every: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Steps: the built-in trainer also keeps every multiple of it in the pods' `/dev/shm`, each rank its part of the
    last two. When processes die and no pod is lost, training goes on from there. Default: none."""
    on_failure: Annotated[OnFailure, Field(strict=False)] = OnFailure.CONTINUE
    """What a volume that takes no file, or a save that fails, means. Continue: training goes on, and the next save is
    tried when it is due; the condition `CheckpointFailing` says why, and since when nothing was saved. Ranks that
    cannot restore, or end without their last checkpoint, are restarted until they can, which is charged to nobody.
    Fail: the job is Failed at once."""

    def directory(self, name: str, uid: str) -> str:
        """The job's directory on the volume, relative to the volume's root."""
        return self.path or f"{name}-{uid[:8]}"
