"""What all ranks agree on at each step, without a wait: the answer of a step is read at the next one.

By then it has long come, so a rank that runs ahead of its GPU, or of the others, goes on running ahead. The answer is
the same on all ranks all the same, for it is that of one call of each. Where a step late would be too late the answer
of now is waited for as well, and that is agreed on too, a call before: where steps are slow, say, so that a wait costs
nothing to speak of and a step may be all the time that a pod has left.
"""

from __future__ import annotations

import sys
from typing import Any

from dtj.group import control, process_group


class Agreement:
    """The largest of each value over all ranks, call by call; a collective of the main thread."""

    def __init__(self) -> None:
        self._group: Any = None
        self._pending: tuple[Any, Any] | None = None
        """The collective of the call before and its tensor, if nobody has read its answer."""
        self._waits = True
        """Whether the last answer that was read says to wait at the next call."""

    def of(self, values: list[int], waits: bool) -> list[int] | None:
        """The largest of each value, of the call before, and of this one too where a rank has asked for that.

        None: what was asked at the call before has been answered by it.

        Args:
            values: of this rank, 0 and more.
            waits: the answer of the next call is to be waited for.

        Raises:
            RuntimeError: a rank is gone.
        """
        group = control.get()
        if group.size == 1:
            return values
        if group is not self._group:
            self._group, self._pending, self._waits = group, None, True
        dist, torch = process_group(), sys.modules["torch"]
        assert dist is not None
        tensor = torch.tensor([*values, int(waits)], dtype=torch.int64)
        begun = dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=group.handle, async_op=True), tensor
        before = self._read()
        self._pending = begun
        if not self._waits:
            return before
        now = self._read()
        if before is None or now is None:
            return now
        return [max(pair) for pair in zip(before, now, strict=True)]

    def settle(self) -> list[int] | None:
        """The answer of the last call, if nobody has read it: what it asks for is done now. A call for all ranks."""
        answer = self._read()
        self._waits = True
        return answer

    def _read(self) -> list[int] | None:
        pending, self._pending = self._pending, None
        if pending is None:
            return None
        pending[0].wait()
        *answer, waits = (int(value) for value in pending[1].tolist())
        self._waits = bool(waits)
        return answer


agreement = Agreement()
"""That of this process."""
