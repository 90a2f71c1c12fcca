"""What a cluster of any kind must offer before a job can run on it.

The three kinds (`local`, `kind`, `existing`) differ in how they come by it and in nothing that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtj_demo.commands import Kubectl

NAMESPACE = "dtj-demo"
CLAIM = "dtj-demo"


@dataclass(frozen=True)
class Image:
    """An image as pods name it."""

    reference: str
    version: str = ""
    """Changes with the content where the reference does not: pods of an older content must be replaced then."""


@dataclass(frozen=True)
class Place:
    """A cluster that is ready for the operator."""

    kubectl: Kubectl
    helm: Path
    operator: Image
    trainer: Image
    claim: str
    """A ReadWriteMany claim in the demo's namespace that the trainer's user may write to."""
    read: Callable[[str], str]
    """The text of a file on the claim, by its path on it. Raises ClusterError when it is not there."""
    where: Callable[[str], str]
    """In words for people: where a path of the claim is found."""
    farewell: str
    """How to look around and how to remove what the demo made."""
