"""Programs that tests put on a PATH of their own."""

from __future__ import annotations

from pathlib import Path


def program(path: Path, text: str) -> None:
    """Make a program of this text, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
