"""Carries out a plan, so that it may be cut off after any call and begun again.

The status goes first: what counts an end is stored before its evidence goes. One failing call does not keep the others
of its kind from being made.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dtj_api import names
from dtj_operator import render
from dtj_operator.act.children import ChildWriter
from dtj_operator.act.dry_run import DryRunner
from dtj_operator.act.events import EventPoster
from dtj_operator.act.links import Links
from dtj_operator.act.status import StatusWriter
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient
from dtj_operator.observe.view import JobView
from dtj_operator.observe.world import World
from dtj_operator.plan import actions as does
from dtj_operator.plan.value import Plan

logger = logging.getLogger(__name__)


class ActError(Exception):
    """Some calls failed; the text has the first few. The job is planned again after a while."""

    def __init__(self, failures: Sequence[Exception]) -> None:
        shown = "; ".join(str(failure) for failure in failures[:3])
        super().__init__(shown + (f"; and {len(failures) - 3} more" if len(failures) > 3 else ""))
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Outcome:
    """What came of a plan."""

    again: bool = False
    """Something was learnt that no watch will tell: plan again at once."""


class Executor:
    """Carries out plans.

    Args:
        client: the API server.
        world: learns what was done.
        links: reach the launchers.
        events: posts events.
        fence: called before each write; raises when this process may no longer write.
        site: where the operator is.
    """

    def __init__(
        self,
        client: KubeClient,
        world: World,
        links: Links,
        events: EventPoster,
        fence: Callable[[], None],
        site: render.Site,
    ) -> None:
        self._client = client
        self._world = world
        self._links = links
        self._events = events
        self._fence = fence
        self._site = site
        self._status = StatusWriter(client, world, fence)
        self._children = ChildWriter(client, world, fence, site)
        self._dry_runs = DryRunner(client, world, site)

    async def execute(self, view: JobView, plan: Plan, *, write: bool) -> Outcome:
        """Write the status if asked to, act, then tell.

        Raises:
            Conflict: the job has changed since it was observed; nothing was done.
            KubeError: the status could not be written; nothing was done.
            ActError: some actions failed; the others were done.
        """
        if write:
            await self._status.write(view, plan)
        again, failures = await self._act(view, plan)
        # What is told is in the status already, and the next plan will not tell it again: a failed call hides no event.
        # What waits for a write is told after that one.
        if write or plan.status == view.status:
            for event in plan.events:
                self._events.tell(view, event)
        if failures:
            raise ActError(failures)
        return Outcome(again)

    def compare(self, view: JobView) -> JobView:
        """The view, with whether the job's service and NetworkPolicy are as they are made now."""
        if view.spec is None:
            return view
        there = view.children
        service = there.service and self._is_altered(
            view, resources.SERVICES, does.CreateService(names.service_name(view.name)), there.service_digest
        )
        policy = there.policy and self._is_altered(
            view, resources.NETWORK_POLICIES, does.CreatePolicy(names.policy_name(view.name)), there.policy_digest
        )
        return replace(view, children=replace(there, service_altered=service, policy_altered=policy))

    def _is_altered(self, view: JobView, resource: resources.Resource, made: does.Create, there: str) -> bool:
        return self._world.lookups.altered(view.uid, resource, render.manifest(view, made, self._site), there)

    async def _act(self, view: JobView, plan: Plan) -> tuple[bool, list[Exception]]:
        """Do what is due, stage by stage; whether to plan again at once, and which calls failed.

        Messages are left to the links: nobody waits here for a pod.
        """
        again, failures = False, list[Exception]()
        sends = {each.uid: each for each in plan.actions if isinstance(each, does.Send)}
        calls = [each for each in plan.actions if not isinstance(each, does.Send)]
        for _, group in itertools.groupby(calls, key=_stage):
            for result in await asyncio.gather(*(self._do(view, each) for each in group), return_exceptions=True):
                if isinstance(result, errors.NamespaceGoing):
                    logger.debug("%s/%s goes with its namespace", view.namespace, view.name)
                elif isinstance(result, errors.KubeError):
                    failures.append(result)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    again = again or result
        self._links.want(view, sends)
        return again, failures

    async def _do(self, view: JobView, action: does.Call) -> bool:
        """Carry out one action; True: plan again at once."""
        match action:
            case does.DeletePod():
                await self._children.delete(view, resources.PODS, action, action.grace)
            case does.DeleteService():
                await self._children.delete(view, resources.SERVICES, action)
            case does.DeletePolicy():
                await self._children.delete(view, resources.NETWORK_POLICIES, action)
            case does.DeleteJob():
                self._fence()
                try:
                    await self._client.delete(resources.JOBS, view.namespace, view.name, uid=action.uid)
                except (errors.NotFound, errors.Conflict):
                    logger.debug("%s/%s is already gone, or made anew", view.namespace, view.name)
            case does.DryRunWorker():
                self._fence()
                return await self._dry_runs.run(view, action)
            case _:
                return await self._children.create(view, action)
        return False


def _stage(action: does.Call) -> str:
    """Creates follow deletes; within one of them the order does not matter."""
    match action:
        case does.DeletePod() | does.DeleteService() | does.DeletePolicy() | does.DeleteJob():
            return "delete"
        case _:
            return "create"
