"""All that the operator sees, and how one job's view is made of it.

Changes wake the jobs that they concern and nothing else: pods by their controller's uid, nodes by the pods on them,
reports by their pod. What a change says is never acted on; it only names the job to look at.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dtj_api import bounds, names
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.observe.adopted import Adopted
from dtj_operator.observe.asking import Asking
from dtj_operator.observe.children import children_of
from dtj_operator.observe.expectations import Expectations
from dtj_operator.observe.indexer import Change, Key
from dtj_operator.observe.lookups import Lookups
from dtj_operator.observe.placement import Placement
from dtj_operator.observe.records import JobRecord, Presence, job_record, node_view, pod_view, presence
from dtj_operator.observe.reflector import Reflector, WatchObserver
from dtj_operator.observe.reports import Reports
from dtj_operator.observe.scopes import Scopes
from dtj_operator.observe.view import SLOW_START, Cluster, Installation, JobView, NodeView, PodView
from dtj_operator.observe.writers import Writers


class World:
    """The watches, the reports and the lookups of one operator.

    Args:
        client: the API server.
        namespaces: those to serve; none: all.
        wake: told the key of a job that should be looked at.
        observer: told about the watches' health.
        reports: made from the two callbacks that it needs; tests put their own.
        operator: who plans.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespaces: Sequence[str],
        wake: Callable[[Key], None],
        observer: WatchObserver | None = None,
        make_reports: Callable[..., Reports] = Reports,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        operator: Installation | None = None,
    ) -> None:
        self._client = client
        self._wake = wake
        self._clock = clock
        # Not `managed-by`, which is everybody's: what policies and tools write there must not hide a pod of ours.
        ours = str(names.Label.JOB_UID)
        self._operator = operator or Installation()

        def scopes(resource: resources.Resource, trim: Any, on_change: Any, labels: str = ours) -> Scopes[Any]:
            def reflector(scope: str | None) -> Reflector[Any]:
                return Reflector(
                    client,
                    resource,
                    trim=trim,
                    on_change=on_change,
                    namespace=scope,
                    labels=labels,
                    page=bounds.JOBS_A_PAGE if resource is resources.JOBS else bounds.OBJECTS_A_PAGE,
                    observer=observer,
                )

            return Scopes(reflector, namespaces if resource.namespaced else ())

        self.jobs: Scopes[JobRecord] = scopes(resources.JOBS, job_record, self._job_changed, "")
        self.pods: Scopes[PodView] = scopes(resources.PODS, pod_view, self._pod_changed)
        self.nodes: Scopes[NodeView] = scopes(resources.NODES, node_view, self._node_changed, "")
        self.services: Scopes[Presence] = scopes(
            resources.SERVICES,
            functools.partial(presence, resources.SERVICES),
            functools.partial(self._child_changed, resources.SERVICES),
        )
        self.policies: Scopes[Presence] = scopes(
            resources.NETWORK_POLICIES,
            functools.partial(presence, resources.NETWORK_POLICIES),
            functools.partial(self._child_changed, resources.NETWORK_POLICIES),
        )
        self.expectations = Expectations()
        self.lookups = Lookups(client)
        self._by_uid: dict[str, Key] = {}
        self._job_of_pod: dict[str, str] = {}
        self._writers = Writers(self._operator, steady)
        self._asking = Asking(
            make_reports, self._report_changed, job_of=self._job_of, hands_off=self._writers.hands_off, now=self.now
        )
        self.reports = self._asking.reports
        self._placement = Placement(self.nodes, self.reports, self.now)
        self._adopted = Adopted(client, self.reflectors, self.now)

    @property
    def reflectors(self) -> tuple[Reflector[Any], ...]:
        """All watches; each wants its `run` to be run."""
        return tuple(each for kind in self._kinds for each in kind.reflectors)

    @property
    def _kinds(self) -> tuple[Scopes[Any], ...]:
        return (self.jobs, self.pods, self.nodes, self.services, self.policies)

    @property
    def synced(self) -> bool:
        """Whether all first lists are complete."""
        return all(each.synced.is_set() for each in self.reflectors)

    async def wait_synced(self) -> None:
        """Wait for all first lists."""
        for each in self.reflectors:
            await each.synced.wait()

    async def view(self, key: Key) -> JobView | None:
        """The picture of one job now, or None when there is no such job.

        Raises:
            KubeError: what the watches do not tell could not be looked up.
        """
        job = self.jobs.get(*key)
        if job is None:
            return None
        await self._adopted.refresh(job.uid)
        claim = claim_of(job)
        slow = self.now() - SLOW_START
        waits = any(pod.waits_since is not None and pod.waits_since <= slow for pod in self.pods.owned_by(job.uid))
        facts = await self.lookups.refresh(job, claim, pods_wait=waits)
        job = self.jobs.get(*key)
        if job is None:
            return None
        pods = tuple(sorted(self.pods.owned_by(job.uid), key=lambda pod: (pod.component, pod.index, pod.uid)))
        facts.refusing &= {pod.uid for pod in pods}
        nodes = self._placement.of(pods)
        own = {pod.uid for pod in pods}
        cluster = self._placement.cluster(own) if any(not node.ready for node in nodes) else Cluster()
        return JobView(
            now=self.now(),
            name=job.name,
            namespace=job.namespace,
            uid=job.uid,
            generation=job.generation,
            resource_version=job.resource_version,
            created=job.created,
            spec=job.spec,
            spec_error=job.spec_error,
            deleting=job.deleting,
            managed_by=job.managed_by,
            status=facts.status_of(job),
            status_error=job.status_error,
            status_age=self._writers.age(job.uid),
            operator=self._operator,
            pods=pods,
            children=children_of(
                job.name,
                self.services.owned_by(job.uid),
                self.policies.owned_by(job.uid),
                key=facts.key is not None,
                claim=bool(claim) and self.lookups.has(job.uid, resources.CLAIMS, claim or ""),
            ),
            foreign=tuple(sorted(f"{resource.kind}/{name}" for resource, name in facts.taken)),
            refused=dict(sorted(facts.refused.items())),
            unread=dict(sorted(facts.unread.items())),
            nodes=nodes,
            cluster=cluster,
            reports=self.reports.of([pod.uid for pod in pods]),
            unanswered=self.reports.unanswered([pod.uid for pod in pods]),
            unreadable=self.reports.unreadable([pod.uid for pod in pods]),
            refusing=tuple(sorted(facts.refusing)),
            dry_run=facts.dry_run,
        )

    def look_at(self, uid: str) -> None:
        """Have a job looked at: something was learnt of it that no watch tells."""
        self._wake_uid(uid)

    def lead(self, leads: bool) -> None:
        """Ask the launchers from now on, or no more: a standby would eat the last words that a leader waits for."""
        self._asking.lead(leads, self.pods.values())

    def heard(self, kind: str | None, item: Object) -> None:
        """Another watch brought a change of a job: look at it. That one is gone, only our own watch is believed."""
        if kind != "DELETED":
            self.jobs.hear(item)
        metadata = item["metadata"]
        self._wake((metadata.get("namespace") or "", metadata["name"]))

    def adopt(self, resource: resources.Resource, item: Object) -> None:
        """Take in a child that a create made or found, where no watch will bring it."""
        next(each for each in self._kinds if each.resource == resource).adopt(item)

    def look_again(self, uid: str) -> float | None:
        """Seconds after which to look at a job again because no watch tells of all its children; None: they do."""
        return self._adopted.look_again(uid)

    def jobs_of_us(self) -> list[JobRecord]:
        """The jobs that this operator acts on: not those whose status it cannot read."""
        return self._writers.ours(self.jobs.values())

    def jobs_of_others(self) -> int:
        """Jobs that this operator would act on if another release did not."""
        return self._writers.others(self.jobs.values())

    def now(self) -> float:
        """Seconds since the epoch: the one clock that views are made by."""
        return self._clock()

    def note_given_up(self, pods: Iterable[str]) -> None:
        """These pods are given up with their nodes: there is a bound to how many that may be within a minute."""
        self._placement.note_given_up(pods)

    async def refetch(self, namespace: str, name: str) -> None:
        """Read one job from the server itself; one that is gone is left to the watch."""
        try:
            self.jobs.learn(await self._client.get(resources.JOBS, namespace, name))
        except errors.NotFound:
            return

    def _job_changed(self, change: Change[JobRecord]) -> None:
        if change.type == "DELETED":
            self._by_uid.pop(change.uid, None)
            self._adopted.forget(change.uid)
            self.expectations.forget(change.uid)
            self.lookups.forget(change.uid)
            self._writers.forget(change.uid)
        else:
            self._by_uid[change.uid] = change.key
            if change.new is not None:
                self._writers.note(change.uid, change.new.status)
            for pod in self.pods.owned_by(change.uid):
                self._asking.follow(pod)
        self._wake(change.key)

    def _pod_changed(self, change: Change[PodView]) -> None:
        job, pod = change.owner, change.new or change.old
        if job is None or pod is None:
            self._forget_pod(change)
            return
        going = change.new is None or change.new.deletion_at is not None
        self.expectations.saw(job, resources.PODS, pod.name, change.uid, going=going)
        if change.old and change.old.node and change.new and change.new.node != change.old.node:
            self._placement.left(change.old.node, change.uid)
        if change.new is None:
            self._forget_pod(change)
        else:
            self._job_of_pod[change.uid] = job
            if pod.node:
                self._placement.came(pod.node, change.uid)
            self._asking.follow(pod)
            if going:
                self._asking.leaves(change.uid)
        if change.old != change.new:
            self._wake_uid(job)

    def _forget_pod(self, change: Change[PodView]) -> None:
        """A pod is gone, or its job went and left it behind."""
        if change.old and change.old.node:
            self._placement.left(change.old.node, change.uid)
        self._job_of_pod.pop(change.uid, None)
        self._asking.forget(change.uid)

    def _node_changed(self, change: Change[NodeView]) -> None:
        if change.old == change.new:
            return
        for pod in self._placement.changed(change):
            self._wake_uid(self._job_of_pod.get(pod))

    def _child_changed(self, resource: resources.Resource, change: Change[Presence]) -> None:
        if change.owner is None or change.old == change.new:
            return
        going = change.new is None or bool(change.new.held_by)
        self.expectations.saw(change.owner, resource, change.key[1], change.uid, going=going)
        self._wake_uid(change.owner)

    def _report_changed(self, pod: str) -> None:
        self._wake_uid(self._job_of_pod.get(pod))

    def _wake_uid(self, uid: str | None) -> None:
        if uid in self._by_uid:
            self._wake(self._by_uid[uid])

    def _job_of(self, pod: str) -> JobRecord | None:
        key = self._by_uid.get(self._job_of_pod.get(pod, ""))
        return self.jobs.get(*key) if key else None


def claim_of(job: JobRecord) -> str | None:
    """Name of the claim that a job needs, or None."""
    checkpoint = job.spec.checkpoint if job.spec else None
    if checkpoint is None:
        return None
    return checkpoint.volume.claim_name or names.claim_name(job.name)
