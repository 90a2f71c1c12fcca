"""A process is ended only when it is the very one that was started."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import MARK, ProcessIdentity, marked
from dtj_cluster.processes import ProcessTable, argv
from dtj_cluster.procfs import start_ticks

WAITS = ["sleep", "600"]


@pytest.fixture
def table(tmp_path):
    made = ProcessTable(tmp_path)
    yield made
    for identity in marked(tmp_path):
        identity.end(0)


STATS = [
    ("1 (sh) S 0 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0", 4711),
    ("1 (a (b) c) S 0 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 17 0 0", 17),
    ("1 (x) R 9 9 9) S 0 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0", 5),
]


@pytest.mark.parametrize(("stat", "ticks"), STATS)
def test_the_start_time_is_found_whatever_the_command_is_called(stat, ticks):
    assert start_ticks(stat) == ticks


def test_a_program_runs_in_a_session_of_its_own_with_its_output_in_its_log(table):
    identity = table.start("echo", ["sh", "-c", "echo out; echo err >&2; exec sleep 600"])

    table.wait_for("echo", lambda: table.log("echo").read_text() == "out\nerr\n", "both lines")
    assert os.getsid(identity.pid) == identity.pid
    assert table.find("echo") == identity


def test_a_program_that_runs_is_not_started_again(table):
    assert table.start("one", WAITS) == table.start("one", WAITS)


def test_a_stopped_program_is_gone_with_its_record(table):
    identity = table.start("one", WAITS)

    table.stop("one")

    assert not identity.alive()
    assert table.alive() == {}
    assert list(table.log("one").parent.parent.joinpath("pids").iterdir()) == []


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(table):
    identity = table.start("deaf", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
    table.wait_for("deaf", lambda: "ready" in table.log("deaf").read_text(), "the trap")

    table.stop("deaf", grace=0.05)

    assert not identity.alive()


@pytest.mark.parametrize("field", ["started", "boot"])
def test_a_recycled_pid_is_a_stranger_and_is_never_signalled(table, field):
    real = table.start("stranger", WAITS)
    recycled = dataclasses.replace(real, **{field: real.started + 1 if field == "started" else "another boot"})

    assert not recycled.alive()
    assert not recycled.send(signal.SIGKILL)
    recycled.end(0)
    assert real.alive()


def test_a_record_of_a_recycled_pid_counts_as_not_running(table, tmp_path):
    real = table.start("one", WAITS)
    record = tmp_path / "pids" / "one.json"
    record.write_text(record.read_text().replace(str(real.started), str(real.started - 1)))

    table.stop("one")

    assert real.alive()


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', "[]"])
def test_a_torn_record_counts_as_not_running(table, tmp_path, content):
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "one.json").write_text(content)

    assert table.find("one") is None
    assert table.alive() == {}


def test_a_program_that_was_started_but_not_recorded_is_found_by_its_mark(table, tmp_path):
    identity = table.start("lost", WAITS)
    (tmp_path / "pids" / "lost.json").unlink()

    assert marked(tmp_path) == [identity]


def test_processes_of_a_cluster_with_a_longer_path_are_not_ours(table, tmp_path):
    other = subprocess.Popen(WAITS, env={**os.environ, MARK: f"{tmp_path}-other"})
    with other:
        try:
            assert marked(tmp_path) == []
        finally:
            other.kill()


def test_a_zombie_has_ended():
    child = subprocess.Popen([sys.executable, "-c", ""])
    with child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        identity = ProcessIdentity.of(child.pid)
        assert identity is not None
        assert not identity.alive()
        child.returncode = 0


def test_waiting_for_a_program_that_died_tells_its_last_words_at_once(table):
    table.start("short", ["sh", "-c", "echo no space left >&2; exit 3"])

    with pytest.raises(ClusterError, match="no space left"):
        table.wait_for("short", lambda: False, "the impossible", timeout=60)


def test_waiting_in_vain_says_what_did_not_come(table):
    table.start("slow", WAITS)

    with pytest.raises(ClusterError, match=r"slow: an answer did not come within 0 s"):
        table.wait_for("slow", lambda: False, "an answer", timeout=0.01)


def test_a_program_that_is_not_there_is_named(table):
    with pytest.raises(ClusterError, match="program no-such-program is not there"):
        table.start("absent", ["no-such-program"])


def test_flags_become_one_word_each(tmp_path):
    assert argv(tmp_path / "p", {"a-b": 1, "c": tmp_path}) == [f"{tmp_path}/p", "--a-b=1", f"--c={tmp_path}"]
