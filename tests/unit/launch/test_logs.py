"""Logs of ranks never block, are bounded, and keep the last words."""

import os
import threading

from dtj_trainer.launch.ranks.logs import KEPT_ROUNDS, WAITING_BYTES, LogFile, Logs, Sink


def test_a_sink_that_is_blocked_blocks_nobody():
    go = threading.Event()
    sink = Sink("blocked", lambda block: go.wait(30) and None)
    for _ in range(10_000):
        sink.put(b"x" * 4096)
    assert sink.dropped > 0
    go.set()
    sink.close(10)


def test_a_full_disk_loses_the_log_and_nothing_else():
    def full(block):
        raise OSError(28, "No space left on device")

    sink = Sink("full", full)
    for _ in range(10):
        sink.put(b"x")
    sink.close(10)
    assert sink.dropped == 10


def test_a_log_file_is_bounded(tmp_path):
    log = LogFile(tmp_path / "1-1" / "0.log", limit=100)
    for index in range(50):
        log.write(f"line {index:3}\n".encode())
    log.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "1-1").iterdir()}
    assert set(sizes) <= {"0.log", "0.log.1"}
    assert sum(sizes.values()) <= 220
    assert "line  49" in (tmp_path / "1-1/0.log").read_text() + (tmp_path / "1-1/0.log.1").read_text()


def test_logs_of_old_rounds_are_removed_and_nothing_else_is(tmp_path):
    # A job that goes on where an older one was begins to count anew.
    names = ["4-1", "10-1", "10-2", "1-1", "1-2", "1-10", "2-1", "3-9"]
    for begun, name in enumerate(["notes", *names]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (begun, begun))
    pruned = Logs(lambda block: None, tmp_path).prune()
    assert pruned
    pruned.result(10)
    assert {path.name for path in tmp_path.iterdir()} == {"notes", *names[-KEPT_ROUNDS:]}


def test_the_tail_is_the_last_lines_and_the_one_that_is_not_ended():
    output: list[bytes] = []
    logs = Logs(output.append, None)
    write, log = logs.open(1, 1, 3)
    os.write(write, b"".join(b"line %d\n" % index for index in range(100)) + b"the end")
    os.close(write)
    assert log.ended.wait(10)
    logs.close()
    assert log.tail().splitlines() == [f"line {index}" for index in range(81, 100)] + ["the end"]
    assert b"".join(output).splitlines()[-1] == b"[rank 3] the end"


def test_a_line_without_end_is_cut():
    output: list[bytes] = []
    logs = Logs(output.append, None)
    write, log = logs.open(1, 1, 0)
    with os.fdopen(write, "wb") as pipe:
        pipe.write(b"x" * 100_000)
    assert log.ended.wait(10)
    logs.close()
    assert sum(block.count(b"x") for block in output) == 100_000
    assert len(log.tail()) <= 2048


def test_a_sink_that_is_stuck_holds_so_many_bytes_and_no_more():
    held, ended, written = threading.Event(), threading.Event(), 0

    def write(block: bytes) -> None:
        nonlocal written
        held.wait()
        written += len(block)

    sink = Sink("stuck", write, ended.set)
    block = bytes(64 * 1024)
    for _ in range(1000):
        sink.put(block)
    kept = 1000 - sink.dropped
    assert kept * len(block) <= WAITING_BYTES + len(block)
    sink.close(0)
    sink.put(block)
    held.set()
    assert ended.wait(10), "its end is known, however much waited"
    assert written == kept * len(block)
