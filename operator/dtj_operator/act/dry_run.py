"""Asks the API server whether it would take a job's pods: the words of admission, before anything is made."""

from __future__ import annotations

import asyncio
import logging

from dtj_api import names
from dtj_operator import render
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient
from dtj_operator.observe.view import DryRun, JobView
from dtj_operator.observe.world import World
from dtj_operator.plan import actions as does

logger = logging.getLogger(__name__)


class DryRunner:
    """Creates pods that the API server judges and does not keep.

    Args:
        client: the API server.
        world: learns what was said.
        site: where the operator is.
    """

    def __init__(self, client: KubeClient, world: World, site: render.Site) -> None:
        self._client = client
        self._world = world
        self._site = site

    async def run(self, view: JobView, action: does.DryRunWorker) -> bool:
        """Try a worker and the store; True: it is known what the API server says, so plan again at once."""
        store = does.CreateStore(names.store_name(view.name), view.status.incarnation)
        pods = [render.manifest(view, each, self._site) for each in (action, store)]
        try:
            worker, meeting = await asyncio.gather(*(self._refusal(view, each) for each in pods))
        except errors.NamespaceGoing:
            return False
        if _may_be_about_the_launcher(worker, pods[0]):
            worker += f" (requests and limits of the container {render.BROUGHT} are spec.launcher.resources)"
        if meeting:
            fields = "requests and limits of the store are spec.rendezvous.resources, all else is as in the template"
            meeting = f"{store.name}: {meeting} ({fields})"
        refused = worker or meeting
        self._world.lookups.of(view.uid).dry_run = DryRun(
            template_hash=action.template_hash, refused=refused, at=view.now
        )
        return True

    async def _refusal(self, view: JobView, pod: render.Manifest) -> str:
        """Why the API server would not take a pod, in its words; empty: it would, or it is there."""
        try:
            await self._client.create(resources.PODS, view.namespace, pod, dry_run=True)
        except errors.AlreadyExists:
            logger.debug("%s: the pod exists, so its manifest was accepted", pod["metadata"]["name"])
        except errors.NamespaceGoing:
            raise
        except (errors.Invalid, errors.BadRequest, errors.Forbidden) as error:
            return error.message
        return ""


def _may_be_about_the_launcher(refused: str, pod: render.Manifest) -> bool:
    """Whether words of the API server are about the container that we add; those of a limit range name none."""
    brought = any(each.get("name") == render.BROUGHT for each in pod["spec"].get("initContainers") or ())
    return brought and (render.BROUGHT in refused or "per Container" in refused)
