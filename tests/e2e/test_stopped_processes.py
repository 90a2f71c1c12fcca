"""The end of a node of which something was stopped: the kernel, nsenter and unshare as they really are."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtj_cluster.identity import ProcessIdentity, marked, release
from dtj_cluster.processes import ProcessTable

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--"]
WAITS = ["sleep", "600"]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ProcessTable]:
    """The namespaces of a node with one program in them."""
    table = ProcessTable(tmp_path)
    init = table.start("init", [*NAMESPACES, *WAITS])
    table.start("kubelet", WAITS, inside=init)
    yield table
    for one in marked(tmp_path):
        one.send(signal.SIGCONT)
        one.send(signal.SIGKILL)


def found(table: ProcessTable, name: str) -> ProcessIdentity:
    identity = table.find(name)
    assert identity is not None
    return identity


def parent(child: ProcessIdentity) -> ProcessIdentity:
    """nsenter or unshare, which wait for what they started."""
    number = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[1])
    identity = ProcessIdentity.of(number)
    assert identity is not None
    return identity


def stop(process: ProcessIdentity) -> None:
    assert process.send(signal.SIGSTOP)
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        pass


@pytest.mark.parametrize("name", ["kubelet", "init"])
def test_a_node_ends_although_a_program_was_stopped_together_with_its_parent(
    node: ProcessTable, name: str, tmp_path: Path
) -> None:
    program = found(node, name)
    everything = [found(node, "init"), found(node, "kubelet"), parent(program)]
    stop(program)
    stop(parent(program))

    for each in ("init", "kubelet"):
        node.stop(each)
    release(tmp_path)

    for one in everything:
        assert one.wait(10)
    # unshare ends a moment after what it had started.
    deadline = time.monotonic() + 10
    while left := marked(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_what_was_stopped_on_another_node_stays_stopped(node: ProcessTable) -> None:
    init = node.start("other-init", [*NAMESPACES, *WAITS])
    other = node.start("other-kubelet", WAITS, inside=init)
    stop(other)
    stop(parent(other))
    stop(found(node, "kubelet"))

    node.stop("init")

    assert Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
