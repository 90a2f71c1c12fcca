"""Which jobs this operator acts on, and which another release does: by who wrote a job's status, and how long ago."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dtj_api.status import JobStatus
from dtj_operator.observe.records import JobRecord
from dtj_operator.observe.view import Installation


@dataclass(frozen=True)
class _Written:
    """Who wrote a job's status last and when, by the clock over there, and when this process first saw that."""

    by: str
    at: float | None
    seen: float


class Writers:
    """Who wrote each job's status last.

    Args:
        operator: who plans here.
        steady: seconds of a clock that nobody sets.
    """

    def __init__(self, operator: Installation, steady: Callable[[], float]) -> None:
        self._operator = operator
        self._steady = steady
        self._written: dict[str, _Written] = {}

    def note(self, uid: str, status: JobStatus) -> None:
        """A job's status was seen."""
        known = self._written.get(uid)
        if known is None or (known.by, known.at) != (status.operator, status.updated_at):
            self._written[uid] = _Written(status.operator, status.updated_at, self._steady())

    def forget(self, uid: str) -> None:
        """A job is gone."""
        self._written.pop(uid, None)

    def age(self, uid: str) -> float:
        """Seconds since this process first saw what is written last."""
        written = self._written.get(uid)
        return self._steady() - written.seen if written else 0.0

    def hands_off(self, job: JobRecord) -> bool:
        """Whether another operator acts on a job."""
        return self._operator.hands_off(job.managed_by, job.status, self.age(job.uid))

    def ours(self, jobs: Iterable[JobRecord]) -> list[JobRecord]:
        """The jobs that this operator acts on: not those whose status it cannot read."""
        return [job for job in jobs if not job.status_error and not self.hands_off(job)]

    def others(self, jobs: Iterable[JobRecord]) -> int:
        """Jobs that this operator would act on if another release did not."""
        return sum(
            job.managed_by == self._operator.managed_by
            and not job.status_error
            and not job.status.done
            and self._operator.is_others(job.status, self.age(job.uid))
            for job in jobs
        )
