"""A lineage for tests: incarnations in a folder, and what they publish."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dtj.entry import STATE_FILE
from dtj.lineage import Lineage


def publish(lineage: Lineage, step: int, text: str = "") -> Path:
    path = lineage.path(step)
    path.mkdir(parents=True, exist_ok=True)
    (path / STATE_FILE).write_text(json.dumps({"step": step, "text": text}))
    return path


def name(path: Path | None) -> str | None:
    return path.name if path else None


@pytest.fixture
def incarnation(tmp_path: Path) -> Callable[..., Lineage]:
    return lambda number, job="a": Lineage(tmp_path, job, number)
