"""What a long step is doing, and what it cost.

On a terminal each running step is one live line; elsewhere (CI, a pipe) a step is a line at its begin, one every
half minute and one at its end, so that a log that is read later tells where the time went. Steps may run side by
side in threads: they share one display, since two live displays overwrite each other.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

HEARTBEAT_SECONDS = 30.0


class Step:
    """One running step. `detail` may be set at any time and shows how far it is."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.started = time.monotonic()

    def seconds(self) -> float:
        """Wall seconds since the step began."""
        return time.monotonic() - self.started

    def text(self) -> str:
        """Title and detail as one line."""
        return f"{self.title} ({self.detail})" if self.detail else self.title


class Display:
    """Shows steps; one for the process (`steps`), others only in tests."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._live: Progress | None = None
        self._running = 0

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` while the body runs, and its time when it has ended."""
        step = Step(title)
        ended = threading.Event()
        task = self._begin(step)
        watcher = threading.Thread(target=self._watch, args=(step, task, ended), daemon=True)
        watcher.start()
        failed = True
        try:
            yield step
            failed = False
        finally:
            ended.set()
            watcher.join()
            self._end(step, task, failed)

    def _begin(self, step: Step) -> TaskID | None:
        if not self._console.is_terminal:
            self._line(step.title)
            return None
        with self._lock:
            if self._live is None:
                self._live = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}", markup=False),
                    TimeElapsedColumn(),
                    console=self._console,
                    transient=True,
                )
                self._live.start()
            self._running += 1
            return self._live.add_task(step.title, total=None)

    def _watch(self, step: Step, task: TaskID | None, ended: threading.Event) -> None:
        while not ended.wait(HEARTBEAT_SECONDS if task is None else 0.5):
            if task is None:
                self._line(f"{step.text()}: {span(step.seconds())} so far")
                continue
            with self._lock:
                if self._live is not None:
                    self._live.update(task, description=step.text())

    def _end(self, step: Step, task: TaskID | None, failed: bool) -> None:
        if task is not None:
            with self._lock:
                if self._live is not None:
                    self._live.remove_task(task)
                    self._running -= 1
                    if self._running == 0:
                        self._live.stop()
                        self._live = None
        outcome = "failed after" if failed else "done in"
        self._line(f"{step.text()}: {outcome} {span(step.seconds())}")

    def _line(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, highlight=False, soft_wrap=True)


def span(seconds: float) -> str:
    """Seconds as people read them: `0.8 s`, `42 s`, `8 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


steps = Display(Console(stderr=True))
