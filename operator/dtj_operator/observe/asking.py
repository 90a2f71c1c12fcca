"""How often the launcher of each worker pod is asked for its report, if at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dtj_api import names
from dtj_operator.observe.records import JobRecord
from dtj_operator.observe.reports import Reports
from dtj_operator.observe.view import PodView

UNSETTLED_INTERVAL = 1.0
"""Seconds between two fetches of a report while the job is not training: then every second counts."""
LEAVING_INTERVAL = 0.25
"""Of a pod that is being deleted: it saves, and is gone a moment later."""
LEAVING = 10.0
"""Seconds for which it is asked that often: one that is stuck must not keep others waiting."""
SETTLED_INTERVAL = 5.0
"""Most seconds between two fetches otherwise: a launcher that ends waits 10 s for somebody to fetch its last report."""


class Asking:
    """Follows the launchers of the jobs that this operator acts on, while it leads.

    Args:
        make_reports: makes the reports from how often to ask a pod and who is told when one says something new.
        on_change: told the pod's uid when a report says something new.
        job_of: the job of a pod by the pod's uid, or None.
        hands_off: whether another operator acts on a job.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        make_reports: Callable[..., Reports],
        on_change: Callable[[str], None],
        *,
        job_of: Callable[[str], JobRecord | None],
        hands_off: Callable[[JobRecord], bool],
        now: Callable[[], float],
    ) -> None:
        self.reports = make_reports(self.interval, on_change)
        self._job_of = job_of
        self._hands_off = hands_off
        self._now = now
        self._leads = False
        self._leaving: dict[str, float] = {}

    def lead(self, leads: bool, pods: Iterable[PodView]) -> None:
        """Ask from now on, or no more: a standby would eat the last words that a leader waits for."""
        self._leads = leads
        for pod in pods:
            if leads:
                self.follow(pod)
            else:
                self.reports.stop(pod.uid)

    def follow(self, pod: PodView) -> None:
        """Ask a pod whose launcher runs, and no more one that has ended."""
        # The phase is Pending as long as any container of the pod has not begun.
        if pod.component == names.Component.WORKER and pod.running_since is not None and pod.ip:
            job = self._job_of(pod.uid)
            if job is not None and self.interval(pod.uid) is not None:
                self.reports.follow(pod.uid, pod.ip, job.uid)
        elif pod.terminated is not None or pod.phase in ("Succeeded", "Failed"):
            self.reports.stop(pod.uid)

    def leaves(self, pod: str) -> None:
        """A pod is being deleted: ask it at once, and often."""
        if pod not in self._leaving:
            self._leaving[pod] = self._now()
            self.reports.hurry(pod)

    def forget(self, pod: str) -> None:
        """A pod is gone."""
        self._leaving.pop(pod, None)
        self.reports.forget(pod)

    def interval(self, pod: str) -> float | None:
        """Seconds between two fetches of a pod's report; None: it is not asked."""
        job = self._job_of(pod)
        if not self._leads or job is None or job.spec is None or job.status.done or self._hands_off(job):
            return None
        if job.status_error:
            # Its last words are for an operator that can write them down.
            return None
        if pod in self._leaving and self._now() < self._leaving[pod] + LEAVING:
            return LEAVING_INTERVAL
        longest = SETTLED_INTERVAL if job.status.phase == names.Phase.RUNNING else UNSETTLED_INTERVAL
        return min(float(job.spec.metrics.interval), longest)
