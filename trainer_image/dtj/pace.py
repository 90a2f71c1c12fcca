"""How long a rank itself takes for a step, without its wait for the others: what tells a slow rank from its victims.

With synchronous training all ranks take equally long for a step. What differs is when a rank's last gradient is ready:
until then it loads data and computes, from then on it waits for whoever is slower. So its own time runs from the end of
one optimizer step to the last gradient of the next. Where collectives block in between (sharded parameters), the wait
for others is inside, all ranks look alike, and none is called slow.

Torch's own hooks see this in any script: two on the optimizers of the process, and one on the parameter whose gradient
comes last, which the second step tells.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from dtj.link import link

EVERY = 1.0
"""Seconds between two messages to the launcher."""


class Pace:
    """The own time of the steps of this process."""

    def __init__(self) -> None:
        self._watches = False
        self._learning: dict[int, Any] | None = None
        """While it is not known whose gradient comes last: a handle for each parameter of the first optimizer."""
        self._last = -1
        self._on_gpu = False
        self._began: Any = None
        self._ready: Any = None
        self._waiting = self._waited = 0.0
        """Seconds of this step that were a wait for others: so far, and until the last gradient."""
        self._pending: list[tuple[Any, Any, float]] = []
        self._seconds: list[float] = []
        self._told_at = 0.0

    def watch(self) -> None:
        """Take the time of every optimizer step from now on, if this process has imported a torch that can tell.

        Once is enough: a rank's parent may have been forked like a rank itself.
        """
        optimizer = sys.modules.get("torch.optim.optimizer")
        if optimizer is not None and not self._watches and hasattr(optimizer, "register_optimizer_step_pre_hook"):
            self._watches = True
            optimizer.register_optimizer_step_pre_hook(self._before_step)
            optimizer.register_optimizer_step_post_hook(self._after_step)

    def skip(self) -> None:
        """What runs now belongs to no step: a save, an evaluation."""
        self._began = None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """What runs now waits for other ranks."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._waiting += time.perf_counter() - began

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        if self._learning is None:
            self._learn(optimizer)
        elif self._learning:
            self._learned()
        elif self._began is not None and self._ready is not None:
            self._pending.append((self._began, self._ready, self._waited))
        self._began = self._ready = None
        self._collect()

    def _after_step(self, *_: Any) -> None:
        self._began = self._mark()
        self._waiting = 0.0

    def _learn(self, optimizer: Any) -> None:
        parameters = [each for group in optimizer.param_groups for each in group["params"] if each.requires_grad]
        self._on_gpu = any(each.is_cuda for each in parameters)
        self._learning = {
            place: each.register_post_accumulate_grad_hook(lambda _, place=place: self._note(place))
            for place, each in enumerate(parameters)
        }

    def _learned(self) -> None:
        assert self._learning is not None
        for place, handle in self._learning.items():
            if place != self._last:
                handle.remove()
        self._learning = {}

    def _note(self, place: int) -> None:
        self._last = place
        self._ready = self._mark()
        self._waited = self._waiting

    def _mark(self) -> Any:
        """This moment: of the GPU's own work where there is one, for the process runs ahead of it."""
        if not self._on_gpu:
            return time.perf_counter()
        event = sys.modules["torch"].cuda.Event(enable_timing=True)
        event.record()
        return event

    def _collect(self) -> None:
        while self._pending and (not self._on_gpu or self._pending[0][1].query()):
            began, ready, waited = self._pending.pop(0)
            seconds = began.elapsed_time(ready) / 1000 if self._on_gpu else ready - began
            self._seconds.append(max(0.0, seconds - waited))
        now = time.monotonic()
        if self._seconds and now - self._told_at >= EVERY:
            # The mean: a throttled process makes most of its steps at full speed.
            link.send({"type": "pace", "seconds": statistics.fmean(self._seconds)})
            self._told_at = now
            self._seconds = []


pace = Pace()
"""The one of this process."""
