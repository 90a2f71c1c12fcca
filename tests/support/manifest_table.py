"""The table of bad manifests (tests/cluster/manifests), asked of a real API server and of the models."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

FOLDER = Path(__file__).parents[1] / "cluster" / "manifests"
Manifest = dict[str, Any]
Refused = Literal["schema", "CEL", "policy", "dry run"]
GOOD_TRAINER = {"task": "ner", "model": {"path": "/model"}, "data": {"train": "a", "dev": "b", "test": "c"}}


@dataclass(frozen=True)
class Change:
    """A change to the base manifest."""

    set: Manifest = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    trainer: Manifest | None = None
    """Fields laid over a good spec.trainer; the template's command goes then."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    change: Change
    refused: Refused
    says: tuple[str, ...]
    update: bool
    first: Change

    def manifest(self, name: str) -> Manifest:
        """What is refused; a job called `name` unless the row is about names."""
        return changed(self.existing(name) if self.update else _named(name), self.change)

    def existing(self, name: str) -> Manifest:
        """What is there before the refused update."""
        return changed(_named(name), self.first)


def base() -> Manifest:
    """The good manifest that the rows change."""
    found: Manifest = yaml.safe_load((FOLDER / "base.yaml").read_text())
    return found


def rows() -> list[Row]:
    """All rows."""
    return [_row(raw) for raw in yaml.safe_load((FOLDER / "bad.yaml").read_text())]


def changed(manifest: Manifest, change: Change) -> Manifest:
    """A changed copy."""
    out = copy.deepcopy(manifest)
    if change.trainer is not None:
        out["spec"]["trainer"] = copy.deepcopy(GOOD_TRAINER) | change.trainer
        out["spec"]["workers"]["template"]["spec"]["containers"][0].pop("command", None)
    for path, value in change.set.items():
        parent, last = _parent(out, path)
        if isinstance(parent, list) and last == len(parent):
            parent.append(copy.deepcopy(value))
        else:
            parent[last] = copy.deepcopy(value)
    for path in change.remove:
        parent, last = _parent(out, path)
        del parent[last]
    return out


def _parent(manifest: Manifest, path: str) -> tuple[Any, Any]:
    *parts, last = path.split(".")
    at: Any = manifest
    for part in parts:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    return at, int(last) if isinstance(at, list) else last


def _named(name: str) -> Manifest:
    manifest = base()
    manifest["metadata"]["name"] = name
    return manifest


def _change(raw: Manifest) -> Change:
    return Change(raw.pop("set", {}), tuple(raw.pop("remove", ())), raw.pop("trainer", None))


def _row(raw: Manifest) -> Row:
    first = raw.pop("first", {})
    row = Row(
        name=raw.pop("name"),
        change=_change(raw),
        refused=raw.pop("refused"),
        says=tuple(raw.pop("says")),
        update=raw.pop("update", False),
        first=_change(first),
    )
    if raw or first:
        raise ValueError(f"bad.yaml: {row.name}: unknown keys {[*raw, *first]}")
    return row
