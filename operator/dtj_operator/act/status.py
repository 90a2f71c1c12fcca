"""Writes a job's status, with its resourceVersion: what the plan counted is stored before its evidence goes."""

from __future__ import annotations

from collections.abc import Callable

from dtj_api import names
from dtj_operator.act.pruning import Told, agrees, dropped
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.observe.records import job_record
from dtj_operator.observe.view import JobView
from dtj_operator.observe.world import World
from dtj_operator.plan.value import Plan


class StatusWriter:
    """Writes the status that a plan has.

    Args:
        client: the API server.
        world: learns what was written.
        fence: called before each write; raises when this process may no longer write.
    """

    def __init__(self, client: KubeClient, world: World, fence: Callable[[], None]) -> None:
        self._client = client
        self._world = world
        self._fence = fence
        self._pruned = Told()

    async def write(self, view: JobView, plan: Plan) -> None:
        """Write it.

        Raises:
            Conflict: the job has changed since it was observed.
            KubeError: it could not be written.
        """
        self._fence()
        body: Object = {
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
        try:
            stored = await self._client.replace(resources.JOBS, view.namespace, view.name, body, subresource="status")
        except errors.KubeError as error:
            stored = await self._landed(view, body["status"], error)
        facts, fields = self._world.lookups.of(view.uid), set(dropped(body["status"], stored.get("status")))
        facts.pruned = (job_record(stored).status, plan.status) if fields else None
        self._pruned.say(fields)
        self._world.jobs.learn(stored)

    async def _landed(self, view: JobView, status: Object, error: errors.KubeError) -> Object:
        """The job, if its status is the one that was sent: an error answer is not believed, and after one the client
        tries again, which is a conflict with our own write.

        Raises:
            KubeError: the error, if it is not.
        """
        if not isinstance(error, errors.Conflict) and not error.may_have_landed:
            raise error
        try:
            found = await self._client.get(resources.JOBS, view.namespace, view.name)
        except errors.KubeError:
            raise error from None
        if found["metadata"]["uid"] != view.uid or not found.get("status") or not agrees(status, found["status"]):
            raise error
        return found
