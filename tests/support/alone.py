"""One rank without a launcher, and what it saves."""

from pathlib import Path
from typing import Any

import pytest

import dtj


@pytest.fixture
def alone(one_rank: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One rank, no launcher, a folder of its own."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    return tmp_path


def save(step: int, content: str = "x", **more: Any) -> None:
    with dtj.checkpoint_dir(step, **more) as path:
        (path / "model").write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())
