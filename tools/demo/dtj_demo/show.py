"""What the demo tells, to people and to programs.

People read standard error: live lines on a terminal, plain lines elsewhere, each step with its time. Standard output
has the report, for people who redirect it, or with `--json` one object a line and nothing else, for programs.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

from rich.console import Console, RenderableType

from dtj_cluster.progress import Step, span, steps


class Show:
    """Where the demo's words go."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._people = Console(stderr=True, highlight=False)
        self._result = Console(highlight=False)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while the body runs; its end is an event with its seconds."""
        with steps.step(title) as step:
            yield step
        self.event("step", title=title, seconds=round(step.seconds(), 1))

    @contextlib.contextmanager
    def part(self, title: str) -> Iterator[None]:
        """As `step`, for a body that shows steps of its own: only its end is told."""
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self._people.print(f"{time.strftime('%H:%M:%S')} {title}: {span(seconds)} in all", markup=False, soft_wrap=True)
        self.event("step", title=title, seconds=round(seconds, 1))

    def say(self, text: str) -> None:
        """One line for people, and the same as an event."""
        self._people.print(text, markup=False, soft_wrap=True)
        self.event("note", text=text)

    def result(self, *parts: RenderableType) -> None:
        """What the demo was run for."""
        if not self._as_json:
            self._result.print(*parts, sep="\n", markup=False, soft_wrap=True)

    def event(self, kind: str, **fields: object) -> None:
        """One line of JSON, when asked for."""
        if self._as_json:
            print(json.dumps({"event": kind, **fields}), flush=True)
