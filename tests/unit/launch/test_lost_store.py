"""A store that dies, hangs or cannot be reached: healthy ranks go on, and each launcher takes the next meeting."""

import contextlib
import select
import signal
import socket
import threading

import pytest
from launcher_jobs import is_alive
from store_thread import KEY, StoreThread

from dtj_api.wire import Meet
from dtj_trainer.launch.local.job import HOST
from dtj_trainer.launch.meeting.meeting import REACH_PATIENCE
from dtj_trainer.launch.store.link import READ_TIMEOUT, StoreLink, StoreLostError

NOTICED = REACH_PATIENCE + 2 * READ_TIMEOUT
"""Seconds for all to have said so: their patience, a read timeout, and a loaded machine."""


def lost(report) -> bool:
    return report.state == "meeting" and "the store" in report.error


def goes_on(report) -> bool:
    return report.state == "training" and "the ranks go on without it" in report.error


def trains_on(job) -> list:
    """All meet at another store in the processes that they are, and train."""
    launchers = [worker.uid for worker in job.workers]
    job.start_store()
    job.meet()
    after = job.wait_step(1, incarnation=job.incarnation)
    assert [report.pod_uid for report in after] == launchers
    assert {(report.state, report.error, report.round) for report in after} == {("training", "", 1)}
    return after


def last_step(job) -> int:
    return int((job.folder / "steps-0").read_text().split()[-1])


def saved_steps(job) -> list[int]:
    return sorted(int(path.read_text()) for path in (job.folder / "work/checkpoints").glob("step-*/step"))


@pytest.mark.parametrize(("signum", "how"), [(signal.SIGKILL, "is gone"), (signal.SIGSTOP, "has not answered")])
def test_a_store_lost_while_they_train_costs_no_step_of_theirs(start, signum, how):
    job = start(2, "slow_save.py", "0")
    job.wait_step(7)
    ranks = job.pids()

    job.signal(job.store, signum)

    waiting = job.wait_reports("the store missed", goes_on, NOTICED)
    assert all(how in report.error for report in waiting)
    step = waiting[0].progress.step
    job.wait("more steps", lambda: job.workers[0].report().progress.step > step + 5)
    assert job.pids() == ranks
    assert all(map(is_alive, ranks.values()))
    made = last_step(job)
    after = trains_on(job)
    assert saved_steps(job)[-1] >= made, "what was made without the store is saved before they move"
    assert [report.failures for report in after] == [(), ()]
    assert job.output().count("saved before moving to another store") == 2
    assert not any(map(is_alive, ranks.values()))


def test_a_pod_that_is_told_to_leave_while_it_saves_before_it_moves_leaves_with_that_save(start):
    job = start(2, "slow_save.py", "3")
    job.wait_step(5)
    job.signal(job.store, signal.SIGKILL)
    job.wait_reports("the store missed", goes_on, NOTICED)
    made = last_step(job)
    job.start_store()
    job.meet()
    job.wait("a save", (job.folder / "saving").exists)

    job.signal(job.workers[0].process, signal.SIGTERM)

    assert job.exit_code(job.workers[0]) == 143
    assert saved_steps(job)[-1:] >= [made]
    assert "saved before leaving" in job.output()


def test_a_pod_that_leaves_together_with_the_store_saves_first(start):
    job = start(2, "slow_save.py", "1.5")
    job.wait_step(5)
    leaves, stays = job.workers
    made = last_step(job)

    job.signal(leaves.process, signal.SIGTERM)
    job.signal(job.store, signal.SIGTERM)

    assert job.exit_code(leaves) == 143
    assert "saved before leaving" in job.output()
    assert saved_steps(job)[-1] >= made
    job.wait("the other one, without a partner", lambda: lost(stays.report()))
    job.start_worker(leaves.index)
    job.start_store()
    job.meet()
    job.wait_step(made + 1, incarnation=job.incarnation)


def test_a_rank_that_is_killed_while_the_store_is_lost_is_told(start):
    """And nobody else's failure, which the operator could not tell from one of its own."""
    job = start(2, "slow_save.py", "0")
    job.wait_step(3)
    job.signal(job.store, signal.SIGKILL)
    job.wait_reports("the store missed", goes_on)

    job.kill_rank(1)

    job.wait("the failure", lambda: job.workers[1].report().failures)
    job.wait("its peer without a partner", lambda: not is_alive(job.pids()[0]))
    job.start_store()
    job.meet()
    job.wait_step(1, incarnation=2)
    told = {(f.rank, f.exit_code) for report in job.reports() for f in report.failures}
    assert told == {(1, -9)}


def test_one_that_moves_first_makes_no_failure_of_its_peers(start):
    """The next meeting is told to one launcher after the other."""
    job = start(2, "plain.py", "1000000")
    job.wait("steps", lambda: "step 9" in job.output())
    job.signal(job.store, signal.SIGKILL)
    job.wait_reports("the store missed", goes_on)
    job.start_store()
    first, late = job.workers
    meet = Meet(2, 2, 2, f"{HOST}:{job.store_port}")
    first.send(meet)
    job.wait("the late one, without a partner", lambda: "Connection" in job.output())
    late.send(meet)
    after = job.wait_reports("all in the next one", lambda r: (r.incarnation, r.state) == (2, "training"))
    assert [report.failures for report in after] == [(), ()]


def test_a_store_that_hangs_while_they_meet_is_told_as_lost(start):
    job = start(2, "train.py", "1000000", meet=False)
    job.incarnation = 1
    for worker in job.workers:
        job.wait("a worker that listens", worker.report)
        worker.send(Meet(1, 3, 3, f"{HOST}:{job.store_port}"))
    link = StoreLink(HOST, job.store_port, 1, job._key)
    job.wait("both, waiting for a third", lambda: link.add("round/1/joined", 0) == 2)
    link.close()

    job.signal(job.store, signal.SIGSTOP)

    job.wait_reports("the store missed", lost, NOTICED)
    trains_on(job)


def test_a_store_that_hangs_before_they_come_is_told_as_lost(start):
    job = start(2, "train.py", "1000000", meet=False)
    for worker in job.workers:
        job.wait("a worker that listens", worker.report)
    link = StoreLink(HOST, job.store_port, 1, job._key)
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

        job.wait("the store missed by one", lambda: goes_on(job.workers[1].report()), NOTICED)
        assert job.workers[0].report().error == ""
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
    with StoreThread() as store, Wire(store.port) as wire:
        link = StoreLink(HOST, wire.port, 1, KEY, timeout=0.3)
        link.set("key", "value")
        wire.cut()
        with pytest.raises(StoreLostError, match=r"has not answered for 0\.3 s") as first:
            link.get("key")
        with pytest.raises(StoreLostError) as second:
            link.get("key")
    assert second.value is first.value
    link.close()


def test_an_answer_that_comes_as_the_link_is_lost_is_told_once():
    """A second word to the same caller would be an error in the thread of either."""
    with StoreThread() as store:
        link = StoreLink(HOST, store.port, 1, KEY)
        told = []

        class Pending(dict):
            def pop(self, *key):
                closer.start()
                closer.join(0.3)
                return super().pop(*key)

        closer = threading.Thread(target=link.close)
        link._pending = Pending({7: lambda answer, why: told.append((answer, why))})
        link._hear([7, "answer"])
        closer.join()
    assert told == [("answer", None)]


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
