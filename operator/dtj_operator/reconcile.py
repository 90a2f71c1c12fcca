"""One reconcile: observe, plan, write the status, act, tell. Whoever knows this function knows the operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dtj_operator.act.executor import ActError, Executor
from dtj_operator.act.progress import ProgressShare
from dtj_operator.kube import errors
from dtj_operator.observe.indexer import Key
from dtj_operator.observe.view import JobView
from dtj_operator.observe.world import World
from dtj_operator.plan.actions import DeletePod
from dtj_operator.plan.reconcile import plan
from dtj_operator.plan.value import Plan

AT_ONCE = 0.0
STALE_RETRY = 10.0
"""Seconds after which to look again whether the watches are fresh."""


class Unfinished(Exception):
    """A plan could not be carried out in full; the text says what failed.

    Args:
        requeue_after: seconds after which the plan itself wanted to look again, whatever failed; None: on a change.
    """

    def __init__(self, text: str, requeue_after: float | None) -> None:
        super().__init__(text)
        self.requeue_after = requeue_after


class Reconciler:
    """Brings one job at a time closer to what its spec asks for.

    Args:
        world: what is.
        executor: does what is due.
        share: limits writes of mere progress.
        record: told each view and its plan; None: nobody wants them.
        stale: why what is known is too old to plan on; "": it is not.
    """

    def __init__(
        self,
        world: World,
        executor: Executor,
        share: ProgressShare,
        record: Callable[[JobView, Plan], Path | None] | None = None,
        stale: Callable[[], str] = lambda: "",
    ) -> None:
        self._world = world
        self._executor = executor
        self._share = share
        self._record = record
        self._stale = stale

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile one job; the answer is the number of seconds after which to do so again, None: on a change.

        Raises:
            Conflict: the job changed since it was observed; nothing was done.
            KubeError: the job could not be observed.
            Unfinished: some of what is due was not done.
        """
        if old := self._stale():
            raise Unfinished(f"{old}: nothing is planned on that", STALE_RETRY)
        view = await self._world.view(key)
        if view is None:
            self._share.forget(key)
            return None
        if (wait := self._world.expectations.wait(view.uid)) > 0:
            return wait
        view = self._executor.compare(view)
        due = plan(view)
        if given_up := [each.uid for each in due.actions if isinstance(each, DeletePod) and each.with_node]:
            # Before anything is awaited: the next plan of another job must know.
            self._world.note_given_up(given_up)
        if self._record and (due.write or due.actions or due.events):
            self._record(view, due)
        write, wait = due.write, 0.0
        if due.write and not due.urgent and not due.actions:
            wait = self._share.ask(key)
            write = wait == 0.0
        elif due.write:
            self._share.forget(key)
        try:
            outcome = await self._executor.execute(view, due, write=write)
        except errors.Conflict:
            # The watch is behind: without reading the job itself the next plan would meet the same conflict.
            await self._world.refetch(view.namespace, view.name)
            raise
        except (errors.KubeError, ActError) as error:
            raise Unfinished(str(error), due.requeue_after) from error
        if outcome.again:
            return AT_ONCE
        again = self._world.look_again(view.uid)
        waits = [each for each in (due.requeue_after, wait or None, again) if each is not None]
        return min(waits, default=None)
