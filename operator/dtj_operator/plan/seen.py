"""What is seen of each pod, whatever has been decided about it: found once for a view, and never changed by a plan."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from dtj_api import names
from dtj_api.names import Component
from dtj_api.scalars import Duration
from dtj_api.wire import Report
from dtj_operator.observe.ends import End, end_of, ended, patience, silent_since
from dtj_operator.observe.node_loss import HERE, NodeLoss, node_losses
from dtj_operator.observe.view import JobView, PodView
from dtj_operator.observe.worker import Worker, worker_of


class Stretch(NamedTuple):
    """The pods of one stretch; those made before it only wait to go."""

    workers: Mapping[int, PodView]
    """Worker pods by index, whatever their state."""
    said: Mapping[int, Report]
    """The latest report of each of them, by index."""
    store: PodView | None
    """Whatever its state."""


class Seen:
    """The pods of a view as both their witnesses tell of them."""

    def __init__(self, view: JobView, tolerate: Duration) -> None:
        self._view = view
        self.tolerate = tolerate
        """How long a node may be away before its pods count as lost."""
        self.node_losses: Mapping[str, NodeLoss] = node_losses(view, tolerate)
        """By the uid of a pod, where there is something to tell of its node."""
        self.by_uid: Mapping[str, PodView] = {pod.uid: pod for pod in view.pods}
        self._rows: dict[str, Worker] = {}
        self._stretches: dict[int, Stretch] = {}

    def row(self, pod: PodView) -> Worker:
        """What a worker's pod is."""
        row = self._rows.get(pod.uid)
        if row is None:
            row = self._rows[pod.uid] = worker_of(self._view, pod, self.node_of(pod), self.tolerate)
        return row

    def end_of(self, pod: PodView) -> End | None:
        """Why the pod is lost, or None: it lives, is starting, or ended well."""
        if pod.component == Component.WORKER:
            return self.row(pod).end
        return end_of(self._view, pod, self.node_of(pod), self.tolerate)

    def over(self, pod: PodView) -> bool:
        """Nothing of it runs any more, well ended or lost."""
        return ended(pod) or self.end_of(pod) is not None

    def node_of(self, pod: PodView) -> NodeLoss:
        """What is found of the pod's node."""
        return self.node_losses.get(pod.uid, HERE)

    def silent_until(self, pod: PodView) -> float | None:
        """When a running pod that answers nobody is given up, or None: it was heard of last."""
        silent = silent_since(self._view, pod, self.node_of(pod))
        return None if silent is None else silent + patience(self.tolerate)

    @cached_property
    def held(self) -> Mapping[str, PodView]:
        """Pods that finalizers alone keep, by name."""
        return {pod.name: pod for pod in self._view.pods if pod.held_by}

    def stretch(self, oldest: int) -> Stretch:
        """The pods that were made in this incarnation or a later one."""
        if (known := self._stretches.get(oldest)) is None:
            known = self._stretches[oldest] = self._find(oldest)
        return known

    def _find(self, oldest: int) -> Stretch:
        pods = [pod for pod in self._view.pods if pod.incarnation >= oldest]
        workers = {
            pod.index: pod
            for pod in pods
            if pod.component == Component.WORKER and pod.name == names.worker_name(self._view.name, pod.index)
        }
        told = ((index, self._view.reports.get(pod.uid)) for index, pod in workers.items())
        said = {index: reported.report for index, reported in told if reported is not None}
        return Stretch(workers, said, next((pod for pod in pods if pod.component == Component.STORE), None))
