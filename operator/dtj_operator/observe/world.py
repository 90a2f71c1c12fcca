"""All that the operator sees, and how one job's view is made of it.

Changes wake the jobs that they concern and nothing else: pods by their controller's uid, nodes by the pods on them,
reports by their pod. What a change says is never acted on; it only names the job to look at.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from dtj_api import names
from dtj_operator.kube import errors, resources
from dtj_operator.kube.client import KubeClient
from dtj_operator.observe.expectations import Expectations
from dtj_operator.observe.lookups import Lookups
from dtj_operator.observe.records import (
    JobRecord,
    Presence,
    job_record,
    node_view,
    pod_view,
    presence,
)
from dtj_operator.observe.reflector import Change, Key, Reflector, WatchObserver
from dtj_operator.observe.reports import Reports
from dtj_operator.observe.view import Children, JobView, NodeView, PodView

UNSETTLED_INTERVAL = 1.0
"""Seconds between two fetches of a report while the job is not training: then every second counts."""
LEAVING_INTERVAL = 0.25
"""Of a pod that is being deleted: it saves, and is gone a moment later."""
LEAVING = 10.0
"""Seconds for which it is asked that often: one that is stuck must not keep others waiting."""
SETTLED_INTERVAL = 5.0
"""Most seconds between two fetches otherwise: a launcher that ends waits 10 s for somebody to fetch its last report."""


class World:
    """The watches, the reports and the lookups of one operator.

    Args:
        client: the API server.
        namespace: the one to serve; None: all.
        wake: told the key of a job that should be looked at.
        observer: told about the watches' health.
        reports: made from the two callbacks that it needs; tests put their own.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str | None,
        wake: Callable[[Key], None],
        observer: WatchObserver | None = None,
        make_reports: Callable[..., Reports] = Reports,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._wake = wake
        self._clock = clock
        managed = f"{names.Label.MANAGED_BY}={names.MANAGED_BY}"

        def reflector(resource: resources.Resource, trim: Any, on_change: Any, labels: str = managed) -> Reflector[Any]:
            scope = namespace if resource.namespaced else None
            return Reflector(
                client, resource, trim=trim, on_change=on_change, namespace=scope, labels=labels, observer=observer
            )

        self.jobs: Reflector[JobRecord] = reflector(resources.JOBS, job_record, self._job_changed, "")
        self.pods: Reflector[PodView] = reflector(resources.PODS, pod_view, self._pod_changed)
        self.nodes: Reflector[NodeView] = reflector(resources.NODES, node_view, self._node_changed, "")
        self.services: Reflector[Presence] = reflector(
            resources.SERVICES, presence, functools.partial(self._child_changed, resources.SERVICES)
        )
        self.policies: Reflector[Presence] = reflector(
            resources.NETWORK_POLICIES, presence, functools.partial(self._child_changed, resources.NETWORK_POLICIES)
        )
        self.reports = make_reports(self._report_interval, self._report_changed)
        self.expectations = Expectations()
        self.lookups = Lookups(client)
        self._by_uid: dict[str, Key] = {}
        self._job_of_pod: dict[str, str] = {}
        self._leaving: dict[str, float] = {}
        self._on_node: dict[str, set[str]] = {}
        self._missing: dict[str, float] = {}

    @property
    def reflectors(self) -> tuple[Reflector[Any], ...]:
        """All watches; each wants its `run` to be run."""
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
        claim = claim_of(job)
        facts = await self.lookups.refresh(job, claim)
        job = self.jobs.get(*key)
        if job is None:
            return None
        pods = tuple(sorted(self.pods.owned_by(job.uid), key=lambda pod: (pod.component, pod.index, pod.uid)))
        facts.refusing &= {pod.uid for pod in pods}
        nodes = tuple(self._node(name) for name in sorted({pod.node for pod in pods if pod.node}))
        policy = next(iter(self.policies.owned_by(job.uid)), None)
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
            status=job.status,
            pods=pods,
            children=Children(
                service=bool(self.services.owned_by(job.uid)),
                policy=policy is not None,
                policy_uid=policy.uid if policy is not None else "",
                key=facts.key is not None,
                claim=bool(claim) and self.lookups.has(job.uid, resources.CLAIMS, claim or ""),
            ),
            foreign=tuple(sorted(f"{resource.kind}/{name}" for resource, name in facts.taken)),
            refused=dict(sorted(facts.refused.items())),
            nodes=nodes,
            reports=self.reports.of([pod.uid for pod in pods]),
            unanswered=self.reports.unanswered([pod.uid for pod in pods]),
            refusing=tuple(sorted(facts.refusing)),
            dry_run=facts.dry_run,
        )

    def now(self) -> float:
        """Seconds since the epoch: the one clock that views are made by."""
        return self._clock()

    def _node(self, name: str) -> NodeView:
        """A node as watched; one without an object is not ready since that was noticed."""
        known = self.nodes.get("", name)
        if known is not None:
            return known
        return NodeView(name, ready=False, not_ready_since=self._missing.setdefault(name, self.now()))

    async def refetch(self, namespace: str, name: str) -> None:
        """Read one job from the server itself; one that is gone is left to the watch."""
        try:
            self.jobs.learn(await self._client.get(resources.JOBS, namespace, name))
        except errors.NotFound:
            return

    def _job_changed(self, change: Change[JobRecord]) -> None:
        if change.type == "DELETED":
            self._by_uid.pop(change.uid, None)
            self.expectations.forget(change.uid)
            self.lookups.forget(change.uid)
        else:
            self._by_uid[change.uid] = change.key
            for pod in self.pods.owned_by(change.uid):
                self._follow(pod)
        self._wake(change.key)

    def _pod_changed(self, change: Change[PodView]) -> None:
        job, pod = change.owner, change.new or change.old
        if job is None or pod is None:
            return
        going = change.new is None or change.new.deletion_at is not None
        self.expectations.saw(job, resources.PODS, pod.name, change.uid, going=going)
        if change.old and change.old.node and (change.new is None or change.new.node != change.old.node):
            self._left_node(change.old.node, change.uid)
        if change.new is None:
            self._job_of_pod.pop(change.uid, None)
            self._leaving.pop(change.uid, None)
            self.reports.forget(change.uid)
        else:
            self._job_of_pod[change.uid] = job
            if pod.node:
                self._on_node.setdefault(pod.node, set()).add(change.uid)
            self._follow(pod)
            if going and change.uid not in self._leaving:
                self._leaving[change.uid] = self.now()
                self.reports.hurry(change.uid)
        if change.old != change.new:
            self._wake_uid(job)

    def _left_node(self, node: str, pod: str) -> None:
        others = self._on_node.get(node, set())
        others.discard(pod)
        if not others:
            self._on_node.pop(node, None)
            self._missing.pop(node, None)

    def _node_changed(self, change: Change[NodeView]) -> None:
        if change.old == change.new:
            return
        if change.new is not None:
            self._missing.pop(change.key[1], None)
        for pod in self._on_node.get(change.key[1], ()):
            self._wake_uid(self._job_of_pod.get(pod))

    def _child_changed(self, resource: resources.Resource, change: Change[Presence]) -> None:
        if change.owner is None or change.type == "MODIFIED":
            return
        self.expectations.saw(change.owner, resource, change.key[1], change.uid, going=change.new is None)
        self._wake_uid(change.owner)

    def _report_changed(self, pod: str) -> None:
        self._wake_uid(self._job_of_pod.get(pod))

    def _wake_uid(self, uid: str | None) -> None:
        if uid in self._by_uid:
            self._wake(self._by_uid[uid])

    def _job_of(self, pod: str) -> JobRecord | None:
        key = self._by_uid.get(self._job_of_pod.get(pod, ""))
        return self.jobs.get(*key) if key else None

    def _follow(self, pod: PodView) -> None:
        if pod.component == names.Component.WORKER and pod.phase == "Running" and pod.ip:
            if self._report_interval(pod.uid) is not None:
                self.reports.follow(pod.uid, pod.ip)
        elif pod.phase in ("Succeeded", "Failed"):
            self.reports.stop(pod.uid)

    def _report_interval(self, pod: str) -> float | None:
        job = self._job_of(pod)
        if job is None or job.spec is None or job.status.done or job.managed_by != names.OPERATOR:
            return None
        if pod in self._leaving and self.now() < self._leaving[pod] + LEAVING:
            return LEAVING_INTERVAL
        longest = SETTLED_INTERVAL if job.status.phase == names.Phase.RUNNING else UNSETTLED_INTERVAL
        return min(float(job.spec.metrics.interval), longest)


def claim_of(job: JobRecord) -> str | None:
    """Name of the claim that a job needs, or None."""
    checkpoint = job.spec.checkpoint if job.spec else None
    if checkpoint is None:
        return None
    return checkpoint.volume.claim_name or names.claim_name(job.name)
