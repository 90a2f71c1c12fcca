"""Who should train, who does, and who could: the pods that are seen, against the status as far as it is decided."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from dtj_api import names
from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus
from dtj_api.wire import Report
from dtj_operator.observe.view import PodView
from dtj_operator.observe.worker import Worker, absent

from .seen import Seen


class Roster:
    """The answers for one state of the status: a draft makes another one when a field changes that they come from."""

    READS = frozenset({"members", "finished_members", "counted_pods", "incarnation", "oldest_incarnation", "store"})
    """Fields of the status that the answers come from."""

    def __init__(self, job: str, spec: JobSpec, seen: Seen, status: JobStatus) -> None:
        self._job = job
        self._seen = seen
        self._status = status
        self._rows: dict[int, Worker] = {}
        self.size: int = spec.workers.replicas
        """Workers that should train."""
        self._asked = self.size + spec.workers.spares
        stretch = seen.stretch(status.oldest_incarnation)
        self.pods: Mapping[int, PodView] = stretch.workers
        """Worker pods of this stretch, by index, whatever their state."""
        self.said: Mapping[int, Report] = stretch.said
        """The latest report of each worker's present pod, by index."""
        self.store: PodView | None = stretch.store
        """The store pod of this stretch, whatever its state."""

    # --- who should train -------------------------------------------------------------------------------------------

    @cached_property
    def wanted(self) -> tuple[int, ...]:
        """Indices of the pods that the spec asks for, spares included: who is one is a role, no number."""
        return tuple(range(self._asked))

    def is_wanted(self, index: int) -> bool:
        """The spec asks for a pod of this index."""
        return 0 <= index < self._asked

    @property
    def missing(self) -> int:
        """Workers that should train and are no members."""
        return max(0, self.size - len(self._status.members))

    # --- who does -----------------------------------------------------------------------------------------------------

    @property
    def met(self) -> bool:
        """The members of this incarnation have been told where to meet."""
        return bool(self._status.store.address)

    def is_member(self, index: int) -> bool:
        """The worker of this index meets in the present incarnation."""
        return index in self._members

    def is_through(self, index: int) -> bool:
        """Its ranks have all exited 0 in the present incarnation."""
        return index in self._finished

    def is_needed(self, index: int) -> bool:
        """The job has to do with the worker of this index; of others the end is nobody's loss."""
        return 0 <= index < self._asked or index in self._members

    def is_used_up(self, uid: str) -> bool:
        """The end of this pod is dealt with."""
        return uid in self._used

    @cached_property
    def reports(self) -> Mapping[int, Report]:
        """Reports of members that are in the current incarnation, by index."""
        found = ((index, self.said.get(index)) for index in self._status.members)
        number = self._status.incarnation
        return {index: said for index, said in found if said is not None and said.incarnation == number}

    # --- who could ----------------------------------------------------------------------------------------------------

    def worker(self, index: int) -> Worker:
        """What the worker of an index is to the job: Absent also where the end of its pod is dealt with already."""
        row = self._rows.get(index)
        if row is None:
            row = self._rows[index] = self._row(index)
        return row

    def _row(self, index: int) -> Worker:
        pod = self.pods.get(index)
        if pod is not None and pod.uid not in self._used:
            return self._seen.row(pod)
        held = self._seen.held
        return absent(held.get(names.worker_name(self._job, index)) if held else None)

    @property
    def store_stands(self) -> bool:
        """Members can meet at the store."""
        store = self.store
        if store is None or self.is_used_up(store.uid) or self._seen.over(store):
            return False
        if not store.ip or store.running_since is None:
            return False
        return self.met or (store.ready and store.deletion_at is None)

    def left_over(self, pod: PodView) -> bool:
        """Made before the last suspension: it only waits to go."""
        return pod.incarnation < self._status.oldest_incarnation

    def next_members(self) -> tuple[int, ...]:
        """Who meets next: members that are there, then those that stand ready, then members that are waited for."""
        members = [index for index in self.wanted if self.is_member(index)]
        there = [index for index in members if self.worker(index).answers or self.worker(index).unheard]
        ready = [index for index in self.wanted if not self.is_member(index) and self.worker(index).answers]
        present = set(there)
        awaited = [index for index in members if index not in present]
        return tuple(sorted([*there, *ready, *awaited][: self.size])) or self.wanted[: self.size]

    @cached_property
    def _members(self) -> frozenset[int]:
        return frozenset(self._status.members)

    @cached_property
    def _finished(self) -> frozenset[int]:
        return frozenset(self._status.finished_members)

    @cached_property
    def _used(self) -> frozenset[str]:
        return frozenset(self._status.counted_pods)
