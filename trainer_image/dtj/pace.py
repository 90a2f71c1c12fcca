"""How long a rank itself takes for a step, without its wait for the others: what tells a slow rank from its victims.

With synchronous training all ranks take equally long for a step. What differs is when a rank's last gradient is ready:
until then it loads data and computes, from then on it waits for whoever is slower. So its own time runs from the end of
one optimizer step to the last gradient of the next. Where collectives block in between (sharded parameters), the wait
for others is inside, all ranks look alike, and none is called slow.

Torch's own hooks see this in any script: two on the optimizers of the process, and one on the parameter whose gradient
comes last, which the second step tells. A script has not asked for them, so whatever goes wrong in one ends the timing
and nothing else; and they are not there for torch.compile and CUDA graphs, whose steps are not timed.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from dtj.link import link

EVERY = 1.0
"""Seconds between two messages to the launcher."""


class Pace:
    """The own time of the steps of this process."""

    def __init__(self) -> None:
        self._watches = False
        self._gave_up = False
        self._learning: dict[int, Any] | None = None
        """While it is not known whose gradient comes last: a handle for each parameter of the first optimizer."""
        self._last = -1
        self._gpu: Any = None
        """The device of all parameters, if that is a GPU."""
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
        hooks = hasattr(optimizer, "register_optimizer_step_pre_hook") and hasattr(_compiler(), "is_compiling")
        if optimizer is not None and hooks and not self._watches:
            self._watches = True
            optimizer.register_optimizer_step_pre_hook(self._hook(self._before_step))
            optimizer.register_optimizer_step_post_hook(self._hook(self._after_step))

    def _hook(self, act: Callable[..., None]) -> Callable[..., None]:
        """What torch may call in its place: it never raises, and a compiler that traces it sees nothing."""
        is_compiling = _compiler().is_compiling
        # One that runs between two graphs is traced by itself; where that fails (Python 3.14), what it calls would be.
        act = _compiler().disable(act)

        def hook(*args: Any) -> None:
            if is_compiling():
                return
            # The dictionaries that hold the hooks must not change while torch goes through them.
            if not self._gave_up:
                try:
                    act(*args)
                except Exception:
                    self._gave_up = True

        return hook

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
        if self._is_captured():
            self._began = self._ready = None
            return
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
        self._learning = {}
        parameters = [each for group in optimizer.param_groups for each in group["params"] if each.requires_grad]
        devices = {each.device for each in parameters}
        # Times of two devices cannot be compared, and what was computed from other tensors has no gradient of its own.
        if len(devices) > 1 or not all(each.is_leaf for each in parameters):
            self._gave_up = True
            return
        self._gpu = next((device for device in devices if device.type == "cuda"), None)
        for place, each in enumerate(parameters):
            self._learning[place] = each.register_post_accumulate_grad_hook(
                self._hook(lambda _, place=place: self._note(place))
            )

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

    def _is_captured(self) -> bool:
        """Whether a CUDA graph takes down what runs now: to ask for the time would break it."""
        return self._gpu is not None and bool(sys.modules["torch"].cuda.is_current_stream_capturing())

    def _mark(self) -> Any:
        """This moment: of the GPU's own work where there is one, for the process runs ahead of it; None: captured."""
        if self._gpu is None:
            return time.perf_counter()
        if self._is_captured():
            return None
        cuda = sys.modules["torch"].cuda
        event = cuda.Event(enable_timing=True)
        event.record(cuda.current_stream(self._gpu))
        return event

    def _collect(self) -> None:
        while self._pending and (self._gpu is None or self._pending[0][1].query()):
            began, ready, waited = self._pending.pop(0)
            seconds = ready - began if self._gpu is None else began.elapsed_time(ready) / 1000
            self._seconds.append(max(0.0, seconds - waited))
        now = time.monotonic()
        if self._seconds and now - self._told_at >= EVERY:
            # The mean: a throttled process makes most of its steps at full speed.
            link.send({"type": "pace", "seconds": statistics.fmean(self._seconds)})
            self._told_at = now
            self._seconds = []


def _compiler() -> Any:
    """torch.compiler, where there is one."""
    return getattr(sys.modules.get("torch"), "compiler", None)


pace = Pace()
"""The one of this process."""
