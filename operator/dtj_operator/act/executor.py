"""Carries out a plan, so that it may be cut off after any call and begun again.

The status goes first: what counts an end is stored before its evidence goes. Names are deterministic, so a create that
finds its object there has succeeded if the job controls it. An error answer is not believed: after a 500 or a time-out
the server is asked whether the object is there. One failing call does not keep the others of its kind from being made.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dtj_api import names
from dtj_operator import render
from dtj_operator.act.control import Address, Control, ControlError, KeyRefusedError
from dtj_operator.act.events import EventPoster
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.observe.reflector import controller_of
from dtj_operator.observe.view import DryRun, JobView
from dtj_operator.observe.world import World
from dtj_operator.plan import actions as does
from dtj_operator.plan.value import Plan

logger = logging.getLogger(__name__)

PARALLEL_CREATES = 10
PARALLEL_SENDS = 32
_WATCHED = (resources.PODS, resources.SERVICES, resources.NETWORK_POLICIES)


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
        control: reaches the launchers.
        events: posts events.
        fence: called before each write; raises when this process may no longer write.
        site: where the operator is.
    """

    def __init__(
        self,
        client: KubeClient,
        world: World,
        control: Control,
        events: EventPoster,
        fence: Callable[[], None],
        site: render.Site,
    ) -> None:
        self._client = client
        self._world = world
        self._control = control
        self._events = events
        self._fence = fence
        self._site = site
        self._creates = asyncio.Semaphore(PARALLEL_CREATES)
        self._sends = asyncio.Semaphore(PARALLEL_SENDS)

    async def execute(self, view: JobView, plan: Plan, *, write: bool) -> Outcome:
        """Write the status if asked to, act, then tell.

        Raises:
            Conflict: the job has changed since it was observed; nothing was done, unless the plan was eager.
            KubeError: the status could not be written; nothing was done, unless the plan was eager.
            ActError: some actions failed; the others were done.
        """
        if write and plan.eager:
            written, acted = await asyncio.gather(
                self._write_status(view, plan), self._act(view, plan), return_exceptions=True
            )
            if isinstance(written, BaseException):
                raise written
            if isinstance(acted, BaseException):
                raise acted
            again, failures = acted
        else:
            if write:
                await self._write_status(view, plan)
            again, failures = await self._act(view, plan)
        # What is told is in the status already, and the next plan will not tell it again: a failed call hides no event.
        for event in plan.events:
            self._events.tell(view, event)
        if failures:
            raise ActError(failures)
        return Outcome(again)

    async def _act(self, view: JobView, plan: Plan) -> tuple[bool, list[Exception]]:
        """Do what is due, stage by stage; whether to plan again at once, and which calls failed."""
        again, failures = False, list[Exception]()
        for _, group in itertools.groupby(plan.actions, key=_stage):
            for result in await asyncio.gather(*(self._do(view, each) for each in group), return_exceptions=True):
                if isinstance(result, errors.NamespaceGoing):
                    logger.debug("%s/%s goes with its namespace", view.namespace, view.name)
                elif isinstance(result, (errors.KubeError, ControlError)):
                    failures.append(result)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    again = again or result
        return again, failures

    async def _write_status(self, view: JobView, plan: Plan) -> None:
        self._fence()
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {
                "name": view.name,
                "namespace": view.namespace,
                "uid": view.uid,
                "resourceVersion": view.resource_version,
            },
            "status": plan.status.dump(),
        }
        stored = await self._client.replace(resources.JOBS, view.namespace, view.name, body, subresource="status")
        self._world.jobs.learn(stored)

    async def _do(self, view: JobView, action: does.Action) -> bool:
        """Carry out one action; True: plan again at once."""
        match action:
            case does.SendMeet() | does.SendSave() | does.SendRelease() | does.SendStop():
                async with self._sends:
                    self._fence()
                    return await self._send(view, action)
            case does.DeletePod():
                async with self._creates:
                    self._fence()
                    return await self._delete(view, resources.PODS, action, action.grace)
            case does.DeletePolicy():
                async with self._creates:
                    self._fence()
                    return await self._delete(view, resources.NETWORK_POLICIES, action)
            case does.DeleteJob():
                self._fence()
                return await self._gone_is_fine(
                    self._client.delete(resources.JOBS, view.namespace, view.name, uid=action.uid)
                )
            case does.DryRunWorker():
                self._fence()
                return await self._dry_run(view, action)
            case _:
                async with self._creates:
                    self._fence()
                    return await self._create(view, action)

    async def _create(self, view: JobView, action: does.Create) -> bool:
        manifest = render.manifest(view, action, self._site)
        resource = resources.of_manifest(manifest)
        if isinstance(action, does.CreateKey):
            manifest = {**manifest, "data": {names.KEY_FIELD: b64encode(self._new_key(view)).decode()}}
        watched = resource in _WATCHED
        expectations, lookups = self._world.expectations, self._world.lookups
        refused = lookups.of(view.uid).refused
        if watched:
            expectations.expect_create(view.uid, resource, action.name)
        try:
            item = await self._create_or_find(view, resource, manifest, action.name)
        except errors.KubeError as error:
            expectations.not_created(view.uid, resource, action.name)
            asked_wrongly = isinstance(error, (errors.Forbidden, errors.Invalid, errors.BadRequest))
            if asked_wrongly and not isinstance(error, errors.NamespaceGoing):
                refused[f"{resource.kind}/{action.name}"] = error.message
            raise
        refused.pop(f"{resource.kind}/{action.name}", None)
        if resource is not resources.CLAIMS and controller_of(item) != view.uid:
            expectations.not_created(view.uid, resource, action.name)
            lookups.note_taken(view.uid, resource, action.name)
            return True
        if watched:
            expectations.created(view.uid, resource, action.name, item["metadata"]["uid"])
        elif resource is resources.SECRETS:
            lookups.note_key(view.uid, item)
        else:
            lookups.note_seen(view.uid, resource, action.name)
        return False

    def _new_key(self, view: JobView) -> bytes:
        """The key that launchers have read, where there may be such; else 32 random bytes."""
        known = self._world.lookups.of(view.uid).known_key
        return known if known and view.pods else secrets.token_hex(32).encode()

    async def _create_or_find(self, view: JobView, resource: resources.Resource, manifest: Object, name: str) -> Object:
        """The object as created, or as it is there already, whoever made it."""
        try:
            return await self._client.create(resource, view.namespace, manifest)
        except errors.AlreadyExists:
            return await self._client.get(resource, view.namespace, name)
        except errors.KubeError as error:
            if not error.may_have_landed:
                raise
            try:
                return await self._client.get(resource, view.namespace, name)
            except errors.KubeError:
                raise error from None

    async def _delete(
        self,
        view: JobView,
        resource: resources.Resource,
        action: does.DeletePod | does.DeletePolicy,
        grace: int | None = None,
    ) -> bool:
        expectations = self._world.expectations
        expectations.expect_delete(view.uid, action.uid)
        try:
            await self._client.delete(resource, view.namespace, action.name, uid=action.uid, grace_seconds=grace)
        except (errors.NotFound, errors.Conflict):
            expectations.not_deleted(view.uid, action.uid)
        except errors.KubeError:
            expectations.not_deleted(view.uid, action.uid)
            raise
        return False

    async def _gone_is_fine(self, call: Awaitable[None]) -> bool:
        try:
            await call
        except (errors.NotFound, errors.Conflict):
            logger.debug("already gone, or made anew")
        return False

    async def _dry_run(self, view: JobView, action: does.DryRunWorker) -> bool:
        manifest = render.manifest(view, action, self._site)
        refused = ""
        try:
            await self._client.create(resources.PODS, view.namespace, manifest, dry_run=True)
        except errors.AlreadyExists:
            logger.debug("%s: the pod exists, so its manifest was accepted", action)
        except errors.NamespaceGoing:
            return False
        except (errors.Invalid, errors.BadRequest, errors.Forbidden) as error:
            refused = error.message
        self._world.lookups.of(view.uid).dry_run = DryRun(
            template_hash=action.template_hash, refused=refused, at=view.now
        )
        return True

    async def _send(self, view: JobView, action: does.Send) -> bool:
        job, lookups = self._world.jobs.get(view.namespace, view.name), self._world.lookups
        key = await lookups.key(job) if job and job.uid == view.uid else None
        if job is None or key is None:
            raise ControlError(f"{action.pod}: the Secret {names.key_name(view.name)} is not there yet")
        to = Address(action.pod, action.uid, action.ip)
        try:
            report = await self._control.send(to, action.message, key)
        except KeyRefusedError as error:
            # It may be us who hold an old key.
            now = await lookups.key_anew(job)
            if now is None or now == key:
                return self._note_refusing(view, action, error)
            try:
                report = await self._control.send(to, action.message, now)
            except KeyRefusedError as again:
                return self._note_refusing(view, action, again)
        lookups.of(view.uid).refusing.discard(action.uid)
        self._world.reports.accept(action.uid, report)
        return False

    def _note_refusing(self, view: JobView, action: does.Send, error: KeyRefusedError) -> bool:
        """Leave it to the plan, once; who is told again all the same is a failed call like any other."""
        refusing = self._world.lookups.of(view.uid).refusing
        if action.uid in refusing:
            raise error
        refusing.add(action.uid)
        logger.warning("%s/%s: %s", view.namespace, view.name, error)
        return True


def _stage(action: does.Action) -> str:
    """Deletes, creates and messages follow each other; within one of them the order does not matter."""
    match action:
        case does.DeletePod() | does.DeletePolicy() | does.DeleteJob():
            return "delete"
        case does.SendMeet() | does.SendSave() | does.SendRelease() | does.SendStop():
            return "send"
        case _:
            return "create"
