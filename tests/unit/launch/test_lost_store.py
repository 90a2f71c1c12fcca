"""A store that dies, hangs or cannot be reached: each launcher ends its ranks, says so, and takes the next meeting."""

import contextlib
import select
import signal
import socket
import threading

import pytest
from launcher_jobs import is_alive
from torch.distributed import TCPStore

from dtj_api.wire import Meet
from dtj_trainer.launch.local_job import HOST
from dtj_trainer.launch.meeting import REACH_PATIENCE
from dtj_trainer.launch.store_link import READ_TIMEOUT, StoreLink, StoreLostError

NOTICED = REACH_PATIENCE + 2 * READ_TIMEOUT
"""Seconds for all to have said so: their patience, a read timeout, and a loaded machine."""


def lost(report) -> bool:
    return report.state == "meeting" and "the store" in report.error


def trains_on(job) -> list:
    """All meet at another store in the processes that they are, and train."""
    launchers = [worker.uid for worker in job.workers]
    job.start_store()
    job.meet()
    after = job.wait_step(1, incarnation=job.incarnation)
    assert [report.pod_uid for report in after] == launchers
    assert {(report.state, report.error, report.round) for report in after} == {("training", "", 1)}
    return after


@pytest.mark.parametrize(("signum", "how"), [(signal.SIGKILL, "is gone"), (signal.SIGSTOP, "has not answered")])
def test_a_store_lost_while_they_train_ends_the_ranks_and_the_next_one_is_met(start, signum, how):
    job = start(2, "train.py", "1000000", env={"DTJ_SAVE_EVERY_STEPS": "5"})
    job.wait_step(7)
    ranks = job.pids()

    job.signal(job.store, signum)

    waiting = job.wait_reports("the store missed", lost, NOTICED)
    assert all(how in report.error for report in waiting)
    job.wait("the end of the ranks", lambda: not any(map(is_alive, ranks.values())))
    trains_on(job)
    assert (job.folder / "restored-2-1-0").read_text().endswith(".i1")


def test_a_store_that_hangs_while_they_meet_is_told_as_lost(start):
    job = start(2, "train.py", "1000000", meet=False)
    job.incarnation = 1
    for worker in job.workers:
        job.wait("a worker that listens", worker.report)
        worker.send(Meet(1, 3, 3, f"{HOST}:{job.store_port}"))
    link = StoreLink(HOST, job.store_port, f"dtj/{job._uid}-1/")
    job.wait("both, waiting for a third", lambda: link.add("round/1/joined", 0) == 2)
    link.close()

    job.signal(job.store, signal.SIGSTOP)

    job.wait_reports("the store missed", lost, NOTICED)
    trains_on(job)


def test_a_store_that_hangs_before_they_come_is_told_as_lost(start):
    job = start(2, "train.py", "1000000", meet=False)
    for worker in job.workers:
        job.wait("a worker that listens", worker.report)
    link = StoreLink(HOST, job.store_port, "")
    link.set("the store", "listens")
    link.close()

    job.signal(job.store, signal.SIGSTOP)
    job.meet()

    job.wait_reports("the store missed", lost, NOTICED)
    trains_on(job)


def test_one_that_is_cut_off_from_the_store_says_so_and_the_others_do_not(start):
    job = start(2, "train.py", "1000000", meet=False)
    job.incarnation = 1
    with Wire(job.store_port) as wire:
        for worker, port in zip(job.workers, (job.store_port, wire.port), strict=True):
            job.wait("a worker that listens", worker.report)
            worker.send(Meet(1, 2, 2, f"{HOST}:{port}"))
        job.wait_step(3)

        wire.cut()

        job.wait("the store missed by one", lambda: lost(job.workers[1].report()), NOTICED)
        peer = job.wait("its peer, without a partner", lambda: (r := job.workers[0].report()).state == "meeting" and r)
        assert peer.error == ""
        trains_on(job)


def test_sigterm_is_obeyed_while_the_store_hangs(start):
    job = start(2, "train.py", "1000000")
    job.wait_step(3)
    ranks = job.pids()
    job.signal(job.store, signal.SIGSTOP)
    for worker in job.workers:
        job.signal(worker.process, signal.SIGTERM)
    assert [job.exit_code(worker, patience=30) for worker in job.workers] == [143, 143]
    assert not any(map(is_alive, ranks.values()))


def test_a_link_that_is_lost_once_is_asked_no_more():
    """Whoever leaves a round for it would wait a second time, with its ranks still there."""
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    with Wire(store.port) as wire:
        link = StoreLink(HOST, wire.port, "", timeout=0.3)
        link.set("key", "value")
        wire.cut()
        with pytest.raises(StoreLostError, match=r"has not answered for 0\.3 s") as first:
            link.get("key")
        with pytest.raises(StoreLostError) as second:
            link.get("key")
    assert second.value is first.value
    link.close()


class Wire:
    """A way to the store that can be cut without either end noticing."""

    def __init__(self, store_port: int) -> None:
        self._store_port = store_port
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._ways: dict[socket.socket, socket.socket] = {}
        self._wake, self._waker = socket.socketpair()
        self._cut = self._ended = False
        self._thread = threading.Thread(target=self._carry)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        self._waker.send(b"x")
        self._thread.join()
        for end in (self._listener, self._wake, self._waker, *self._ways):
            end.close()

    def cut(self) -> None:
        """From now on nothing passes; the connections stay."""
        self._cut = True
        self._waker.send(b"x")

    def _carry(self) -> None:
        while not self._ended:
            ways = [] if self._cut else [self._listener, *self._ways]
            for end in select.select([self._wake, *ways], [], [])[0]:
                if end is self._wake:
                    end.recv(1)
                elif end is self._listener:
                    ours, theirs = end.accept()[0], socket.create_connection((HOST, self._store_port))
                    self._ways |= {ours: theirs, theirs: ours}
                else:
                    self._pass_on(end)

    def _pass_on(self, end: socket.socket) -> None:
        other = self._ways[end]
        with contextlib.suppress(OSError):
            if block := end.recv(65536):
                other.sendall(block)
                return
        for each in (end, other):
            del self._ways[each]
            each.close()
