"""Makes and deletes a job's children, and has the world expect what the watches will bring of that.

Names are deterministic, so a create that finds its object there has succeeded if the job controls it. An error answer
is not believed: after a 500 or a time-out the server is asked whether the object is there.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable

from dtj_api import names
from dtj_api.base import ManifestError
from dtj_operator import render
from dtj_operator.act.slots import Slots
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.observe.indexer import controller_of
from dtj_operator.observe.view import JobView
from dtj_operator.observe.world import World
from dtj_operator.plan import actions as does

PARALLEL_CALLS, IN_ALL = 10, 40
"""Creates and deletes at once: in one namespace, shared fairly among its jobs, and in all."""
_WATCHED = (resources.PODS, resources.SERVICES, resources.NETWORK_POLICIES)


class ChildWriter:
    """Makes and deletes pods, services, policies, keys and claims.

    Args:
        client: the API server.
        world: learns what was done.
        fence: called before each write; raises when this process may no longer write.
        site: where the operator is.
    """

    def __init__(self, client: KubeClient, world: World, fence: Callable[[], None], site: render.Site) -> None:
        self._client = client
        self._world = world
        self._fence = fence
        self._site = site
        self._slots = Slots(PARALLEL_CALLS, IN_ALL)

    async def create(self, view: JobView, action: does.Create) -> bool:
        """Make a child, or find it made; True: it is not the job's, so plan again at once.

        Raises:
            KubeError: it is not there, as far as one can tell.
        """
        async with self._slots.slot(view.namespace, view.uid):
            self._fence()
            return await self._create(view, action)

    async def _create(self, view: JobView, action: does.Create) -> bool:
        refused = self._world.lookups.of(view.uid).refused
        try:
            manifest = render.manifest(view, action, self._site)
        except ManifestError as error:
            refused[f"{resources.PODS.kind}/{action.name}"] = str(error)
            raise errors.Invalid(f"make {action.name}", str(error)) from error
        resource = resources.of_manifest(manifest)
        if isinstance(action, does.CreateKey):
            manifest = {**manifest, "data": {names.KEY_FIELD: b64encode(self._new_key(view)).decode()}}
        watched = resource in _WATCHED
        expectations, lookups = self._world.expectations, self._world.lookups
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
            uid = item["metadata"]["uid"]
            old = {resources.SERVICES: view.children.service_uid, resources.NETWORK_POLICIES: view.children.policy_uid}
            if uid == old.get(resource):
                # A finalizer keeps what was to go first: of what is there already no event comes.
                expectations.not_created(view.uid, resource, action.name)
            else:
                expectations.created(view.uid, resource, action.name, uid)
                if resource in old:
                    lookups.note_made(view.uid, resource, manifest, item)
            self._world.adopt(resource, item)
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

    async def delete(
        self,
        view: JobView,
        resource: resources.Resource,
        action: does.DeletePod | does.DeleteService | does.DeletePolicy,
        grace: int | None = None,
    ) -> None:
        """Delete a child; one that is gone, or was made anew, is fine.

        Raises:
            KubeError: it may be there still.
        """
        expectations = self._world.expectations
        async with self._slots.slot(view.namespace, view.uid):
            self._fence()
            # Of one that goes already no event may come: a finalizer of somebody else may keep it for long.
            if not any(pod.uid == action.uid and pod.deletion_at is not None for pod in view.pods):
                expectations.expect_delete(view.uid, action.uid)
            try:
                await self._client.delete(resource, view.namespace, action.name, uid=action.uid, grace_seconds=grace)
            except (errors.NotFound, errors.Conflict):
                expectations.not_deleted(view.uid, action.uid)
            except errors.KubeError:
                expectations.not_deleted(view.uid, action.uid)
                raise
