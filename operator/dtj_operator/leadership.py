"""Terms of office: stand for the lease, work while it is ours, and stand again when it is lost.

A lost lease costs no process, only the right to write. What is in flight is cancelled at once, long before the lease
can be another's; a write that cannot be cancelled in time ends the process, since nothing else is sure to stop it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from dtj_operator.leader import LeaderElector, LeadershipLost

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 2.0
"""Within which what is in flight must end when the lease is lost: it runs for 5 s more then."""


def exit_at_once(why: str) -> NoReturn:
    """End the process without another await: somebody else may lead, and nothing may be written any more."""
    logger.critical("%s", why)
    logging.shutdown()
    os._exit(1)


class Leadership:
    """One process's part in leading.

    Args:
        elector: stands for the lease; None: there is none, and this process leads from the start.
        lead: does a leader's work until it is cancelled, or returns when it was asked to end.
        changed: told when the right to write is won or lost.
        give_up: called when work in flight could not be cancelled; does not return.
    """

    def __init__(
        self,
        elector: LeaderElector | None,
        lead: Callable[[], Coroutine[Any, Any, None]],
        changed: Callable[[bool], None],
        give_up: Callable[[str], Any] = exit_at_once,
    ) -> None:
        self._elector = elector
        self._lead = lead
        self._changed = changed
        self._give_up = give_up
        self._leads = False
        self._ending = False

    def fence(self) -> None:
        """Called before each write: a leader that was paused must not write on an expired lease.

        Raises:
            LeadershipLost: nothing may be written.
        """
        if not self._leads or (self._elector and (not self._elector.leading or self._elector.overdue())):
            raise LeadershipLost("the lease was not renewed in time")

    async def run(self) -> None:
        """Stand and lead, term after term, until the work ends by itself."""
        while not self._ending:
            if self._elector:
                await self._elector.acquire()
            await self._term()

    def end(self) -> None:
        """This term, if it is one, is the last: `run` returns when its work does, and the lease is given back."""
        self._ending = True

    @property
    def leads(self) -> bool:
        """Whether this process may write."""
        return self._leads

    async def _term(self) -> None:
        self._leads = True
        self._changed(True)
        work = asyncio.create_task(self._lead(), name="work")
        hold = asyncio.create_task(self._hold(), name="leader election")
        try:
            await asyncio.wait({work, hold}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._step_down(work, hold)

    async def _hold(self) -> None:
        if self._elector is None:
            await asyncio.Event().wait()
            return
        await self._elector.hold()

    async def _step_down(self, work: asyncio.Task[None], hold: asyncio.Task[None]) -> None:
        self._leads = False
        self._changed(False)
        done = work.done()
        for task in (work, hold):
            task.cancel()
        _, late = await asyncio.wait({work, hold}, timeout=CANCEL_SECONDS)
        if late:
            self._give_up(f"leadership lost, and a write could not be cancelled in {CANCEL_SECONDS:g} s")
        if not hold.cancelled() and (lost := hold.exception()):
            if not isinstance(lost, LeadershipLost):
                raise lost
            logger.warning("leadership lost: %s; standing by", lost)
        elif self._elector:
            await self._elector.release()
        if done:
            work.result()
