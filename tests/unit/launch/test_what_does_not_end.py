"""What cannot be ended is waited for, but not for ever, and is named."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from dtj_trainer.launch.incarnation.agent import Agent
from dtj_trainer.launch.incarnation.round_end import RoundEnd
from dtj_trainer.launch.ranks import zygote
from dtj_trainer.launch.ranks.command import Command, RunAs
from dtj_trainer.launch.ranks.logs import RankLog
from dtj_trainer.launch.ranks.process import name_of
from dtj_trainer.launch.ranks.ranks import Forked, Rank, RankExit, Zygote


@pytest.fixture
def family():
    """A process that leads a group, as what a rank has left behind."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def server():
    """A zygote whose strays are not looked for: another rank runs whose they may be. And what it tells."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    one = zygote._Zygote(theirs)
    one._pids = {7: os.getpid()}
    with ours, theirs:
        yield one, ours
    os.close(one._wake_read)
    os.close(one._wake_write)


def told(channel: socket.socket) -> list[dict]:
    found = []
    try:
        while True:
            found.append(json.loads(channel.recv(zygote.MAX_MESSAGE)))
    except BlockingIOError:
        return found


def test_the_end_of_a_rank_is_told_once_its_family_is_gone(server, family, capfd):
    one, channel = server
    one._ended.append(zygote._Ended(family.pid, {"id": 1, "exit": 3}, time.monotonic() + 3600.0))
    one._end_families()
    assert (told(channel), len(one._ended)) == ([], 1), "it may hold a GPU yet"
    family.kill()
    family.wait()
    one._end_families()
    assert (told(channel), one._ended) == ([{"id": 1, "exit": 3}], [])
    assert capfd.readouterr().err == ""


def test_a_family_that_does_not_end_is_named_and_waited_for_no_longer(server, family, capfd):
    one, channel = server
    one._ended.append(zygote._Ended(family.pid, {"id": 1, "exit": 3}, time.monotonic() - 1.0))
    one._end_families()
    assert (told(channel), one._ended) == ([{"id": 1, "exit": 3, "left": [family.pid]}], [])
    assert capfd.readouterr().err == f"dtj: what a rank started does not end: {name_of(family.pid)}\n"


def test_what_one_rank_has_left_holds_up_no_other(server, family, capfd):
    one, channel = server
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    for id, process in ((1, family), (2, gone)):
        one._ended.append(zygote._Ended(process.pid, {"id": id, "exit": 3}, time.monotonic() + 3600.0))
    one._end_families()
    assert [message["id"] for message in told(channel)] == [2]
    assert capfd.readouterr().err == ""


def test_a_round_goes_on_without_what_does_not_end(start):
    job = start(1, "with_zombie.py", processes=2)
    left = job.wait("what it leaves", lambda: (p := job.folder / "left").exists() and p.read_text())
    job.wait("its name", lambda: f"dtj: what a rank started does not end: {left} (" in job.output())
    job.wait("the second round", lambda: all((job.folder / f"runs-2-{rank}").exists() for rank in (0, 1)))
    assert [failure.exit_code for failure in job.workers[0].report().failures] == [3]


def test_what_has_outlived_its_round_is_known_until_it_is_gone(family):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lost = threading.Event()
    known = Zygote(ours, lost.set)
    old, new = Forked(), Forked()
    with ours, theirs:
        for rank in (old, new):
            known.start(Command(RunAs.SUBPROCESS, argv=("true",)), {}, os.open(os.devnull, os.O_WRONLY), rank)
        assert known.outlived([new]), "it takes no signal"
        assert not known.outlived([old, new])
        theirs.send(json.dumps({"id": old.id, "exit": 3, "at": 0.0, "left": [family.pid]}).encode())
        assert old.wait(300.0)
        assert known.outlived([new]), "what it started is there yet"
        family.kill()
        family.wait()
        assert not known.outlived([new])
        theirs.shutdown(socket.SHUT_RDWR)
        assert lost.wait(300.0)


@pytest.mark.parametrize(("outlived", "words"), [(False, "OutOfMemoryError"), (True, "")])
def test_what_fails_beside_what_does_not_end_says_nothing_of_the_script(tmp_path, outlived, words):
    """Memory of a device, ports and locks may be held yet."""
    told = []
    (tmp_path / "error").write_text('{"message": "torch.OutOfMemoryError: CUDA out of memory."}')
    tools = SimpleNamespace(
        zygote=SimpleNamespace(outlived=lambda ranks: outlived),
        board=SimpleNamespace(training=SimpleNamespace(step=lambda: None, before_steps=lambda: True), fail=told.append),
        error_file=lambda local_rank: tmp_path / "error",
        on_failure=lambda *_: None,
    )
    rank = Rank(0, 0, RankLog(0, None, None), lambda _: None)
    rank.log.end()
    rank.end(RankExit(1, 1, 0.0))
    meeting = SimpleNamespace(open_next=lambda *_: True)
    RoundEnd(tools, meeting, 1, lambda _: None).failed(SimpleNamespace(number=2), [rank], lambda: None)
    assert [failure.if_repeated for failure in told] == [words]


class StuckRank(Rank):
    """Its process waits in the kernel, and takes no signal: whoever waits for it does so in vain."""

    def wait(self, timeout=None):
        """See base class."""
        assert timeout is not None, "for ever"
        return self.exit is not None


def test_a_rank_that_takes_no_signal_is_named_and_the_pod_goes_on():
    said, sent, left = [], [], []
    tools = SimpleNamespace(
        zygote=SimpleNamespace(kill=lambda rank, signum: sent.append((rank.global_rank, signum))),
        logs=SimpleNamespace(say=said.append),
        board=SimpleNamespace(training=SimpleNamespace(left=lambda: left.append(True))),
    )
    agent = Agent(tools, 1, 2)
    agent._ranks = [StuckRank(number, number % 2, None, agent._wishes.put) for number in (4, 5)]
    agent._ranks[0].pid, agent._ranks[1].pid = 70, 71
    agent._ranks[0].end(RankExit(1, 0, 0.0))
    agent._stop_ranks()
    (text,) = said
    assert text.startswith("rank 5 (pid 71) does not end: the process waits in the kernel")
    assert sent == [(4, signal.SIGTERM), (5, signal.SIGTERM), (5, signal.SIGKILL)]
    assert (agent._ranks, left) == ([], [True])
