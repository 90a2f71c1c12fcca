"""A link to each launcher that is to hear something: it holds the message and delivers it, so no reconcile waits.

A plan says of each pod what its launcher should have been told; the last plan's word is the one that is delivered. A
link sends until the launcher has acknowledged, with a back-off for one that does not answer, and not again: said twice
is the same message twice. What a plan does not want any more is not sent. Only a leader has links.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from dtj_api import names, wire
from dtj_operator.act.control import Address, ControlError, KeyRefusedError
from dtj_operator.connections import Connections
from dtj_operator.kube import errors
from dtj_operator.leader import LeadershipLost
from dtj_operator.observe.records import JobRecord
from dtj_operator.observe.view import JobView
from dtj_operator.observe.world import World
from dtj_operator.plan.actions import Send

logger = logging.getLogger(__name__)

PAUSE, MAX_PAUSE = 1.0, 30.0
"""Seconds between two tries to reach a launcher: the first and the longest."""
SAID_AGAIN = 30.0
"""Seconds after which a launcher that has acknowledged and does not show it is told once more. A save is asked once."""
IN_ALL, PER_JOB = 512, 32
"""Connections at once. Who has waited longest for one is next."""
_TOLD_AFTER = 3
"""Tries in vain after which the log says so."""


class Speaks(Protocol):
    """`Control`, as far as a link needs it."""

    def send(self, to: Address, message: wire.Message, key: bytes) -> Awaitable[wire.Report]:
        """Deliver one message."""
        ...


class Links:
    """The links of all jobs.

    Args:
        control: delivers one message.
        world: knows keys and takes the answers.
        fence: called before each message; raises when this process may no longer act.
        in_all: connections at once.
        per_job: of these, to the pods of one job.
        pause: seconds of the first pause after a try in vain.
    """

    def __init__(
        self,
        control: Speaks,
        world: World,
        fence: Callable[[], None],
        *,
        in_all: int = IN_ALL,
        per_job: int = PER_JOB,
        pause: float = PAUSE,
    ) -> None:
        self._control = control
        self._world = world
        self._fence = fence
        self._pause = pause
        self._connections = Connections(in_all, per_job)
        self._links: dict[str, dict[str, _Link]] = {}

    def want(self, view: JobView, sends: Mapping[str, Send]) -> None:
        """Have these messages delivered, by pod uid, and no others to this job's pods."""
        links = self._links.setdefault(view.uid, {})
        for uid in links.keys() - sends.keys():
            links.pop(uid).close()
        for uid, send in sends.items():
            link = links.get(uid)
            heard_at = view.reports[uid].at if uid in view.reports else 0.0
            if link is None or not link.holds(send, heard_at):
                if link is not None:
                    link.close()
                links[uid] = _Link(self._deliver(view, send), send, heard_at, self._pause)
        if not links:
            del self._links[view.uid]

    def close(self) -> list[asyncio.Task[None]]:
        """Drop all messages: this process leads no more. The answer is what has still to end."""
        links = [link for of_job in self._links.values() for link in of_job.values()]
        self._links.clear()
        return [link.close() for link in links]

    def _deliver(self, view: JobView, send: Send) -> Callable[[], Awaitable[None]]:
        async def deliver() -> None:
            async with self._connections.connection(view.uid):
                await self._once(view, send)

        return deliver

    async def _once(self, view: JobView, send: Send) -> None:
        """Try once. Of a job that is gone nobody is told anything.

        Raises:
            ControlError: the launcher was not reached or did not take it.
            KubeError: the key could not be looked up.
        """
        job, lookups = self._world.jobs.get(view.namespace, view.name), self._world.lookups
        if job is None or job.uid != view.uid:
            # Nobody plans for it any more, and so nobody else would end these.
            for link in self._links.pop(view.uid, {}).values():
                link.close()
            return
        key = await lookups.key(job)
        if key is None:
            raise ControlError(f"{send.pod}: the Secret {names.key_name(view.name)} is not there yet")
        try:
            report = await self._say(send, key)
        except KeyRefusedError as error:
            # It may be us who hold an old key.
            now = await lookups.key_anew(job)
            if now is None or now == key:
                self._note_refusing(job, send, error)
                raise
            try:
                report = await self._say(send, now)
            except KeyRefusedError as again:
                self._note_refusing(job, send, again)
                raise
        lookups.of(view.uid).refusing.discard(send.uid)
        self._world.reports.accept(send.uid, report)

    async def _say(self, send: Send, key: bytes) -> wire.Report:
        self._fence()
        return await self._control.send(Address(send.pod, send.uid, send.ip), send.message, key)

    def _note_refusing(self, job: JobRecord, send: Send, error: KeyRefusedError) -> None:
        """Leave it to the plan, once."""
        refusing = self._world.lookups.of(job.uid).refusing
        if send.uid not in refusing:
            refusing.add(send.uid)
            logger.warning("%s/%s: %s", job.namespace, job.name, error)
            self._world.look_at(job.uid)


class _Link:
    """One message to one launcher, for as long as it is wanted."""

    def __init__(self, deliver: Callable[[], Awaitable[None]], send: Send, heard_at: float, pause: float) -> None:
        self._deliver = deliver
        self._send = send
        self._heard_at = heard_at
        self._pause = pause
        self._tries = 0
        self._hurry = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"link to {send.pod}")

    def holds(self, send: Send, heard_at: float) -> bool:
        """Whether it delivers this message, or has. A silent launcher that was heard of is tried at once."""
        if self._tries and heard_at > self._heard_at:
            self._heard_at = heard_at
            self._hurry.set()
        return send == self._send

    def close(self) -> asyncio.Task[None]:
        """Send nothing any more."""
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        while True:
            self._hurry.clear()
            try:
                await self._deliver()
            except LeadershipLost:
                return
            except (ControlError, errors.KubeError) as error:
                await _rest(self._hurry, self._note(error))
            else:
                self._tries = 0
                if isinstance(self._send.message, wire.Save):
                    return
                await _rest(self._hurry, SAID_AGAIN)

    def _note(self, error: Exception) -> float:
        """Count a try in vain; the answer is the pause after it in seconds."""
        self._tries += 1
        pause: float = min(MAX_PAUSE, self._pause * 2.0 ** min(self._tries - 1, 10)) * random.uniform(0.8, 1.0)
        level = logging.WARNING if self._tries == _TOLD_AFTER else logging.DEBUG
        logger.log(level, "not delivered: %s; tried %d times, again in %.1f s", error, self._tries, pause)
        return pause


async def _rest(hurry: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event."""
    # Not `wait_for`: of a cancellation in the moment of the event it makes an event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hurry.wait()
