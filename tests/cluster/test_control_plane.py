"""The control plane alone: real API servers, side by side, and nothing left of them."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from dtj_cluster import ClusterError, ControlPlane, binaries, cluster, fake_nodes
from dtj_cluster.identity import marked
from dtj_cluster.state import Paths
from dtj_cluster.status import Status

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def state_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def processes_of(*planes):
    return [identity for plane in planes for identity in marked(plane.paths.root)]


def kubectl(plane, *arguments):
    program = binaries.ensure("kubectl")["kubectl"]
    done = subprocess.run(
        [program, "--kubeconfig", plane.kubeconfig, *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def test_two_control_planes_run_at_once_and_know_nothing_of_each_other():
    with ControlPlane("one") as one, ControlPlane("two") as two:
        kubectl(one, "create", "namespace", "only-in-one")

        assert two.api().get("/api/v1/namespaces/only-in-one") is None
        assert one.api().get("/api/v1/namespaces/only-in-one") is not None
        assert not set(Status.of(one).ports.values()) & set(Status.of(two).ports.values())
    assert processes_of(one, two) == []
    assert not one.paths.root.exists()
    assert not two.paths.root.exists()


def test_up_twice_keeps_what_runs():
    with ControlPlane("twice") as plane:
        before = Status.of(plane)
        kubectl(plane, "create", "namespace", "kept")

        plane.up()

        assert Status.of(plane) == before
        assert plane.api().get("/api/v1/namespaces/kept") is not None


def test_up_with_other_options_is_refused_and_changes_nothing():
    with ControlPlane("options") as plane:
        with pytest.raises(ClusterError, match="client_qps"):
            ControlPlane("options", client_qps=500).up()

        assert Status.of(plane).phase == "Up"


def test_controllers_and_scheduler_are_at_work():
    with ControlPlane("work") as plane:
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
        plane.api().create("/api/v1/namespaces/default/pods", pod)

        # No node is there: that the scheduler says so is what can be seen of it.
        kubectl(plane, "wait", "--for=condition=PodScheduled=False", "pod/p", "--timeout=20s")
        kubectl(plane, "create", "deployment", "d", "--image=none")
        kubectl(plane, "wait", "--for=create", "pod", "--selector=app=d", "--timeout=20s")


OWNER = """
import os, sys
from dtj_cluster import ControlPlane
ControlPlane("hard").__enter__()
print("up", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_owner_left_is_cleared_by_the_next_up():
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        owner.kill()
    left = Paths.of("hard")
    assert marked(left.root), "the control plane should have outlived its owner"

    with ControlPlane("next"):
        assert marked(left.root) == []
        assert not left.root.exists()


def test_after_kill_9_of_everything_up_starts_anew():
    with ControlPlane("killed") as plane:
        kubectl(plane, "create", "namespace", "of-the-old-run")
        for identity in processes_of(plane):
            identity.end(0)
        assert Status.of(plane).phase == "Broken"

        plane.up()

        assert Status.of(plane).phase == "Up"
        assert plane.api().get("/api/v1/namespaces/of-the-old-run") is None


def test_a_hard_kill_in_the_middle_of_up_is_cleared_by_the_next_up():
    paths = Paths.of("middle")
    starting = subprocess.Popen(
        [sys.executable, "-m", "dtj_cluster", "up", "--control-plane-only", "--name", "middle"],
        stderr=subprocess.PIPE,
        text=True,
    )
    with starting:
        assert starting.stderr is not None
        for line in starting.stderr:
            if "API server" in line:
                break
        starting.kill()
    orphans = marked(paths.root)
    assert orphans, "etcd should run by the time the API server is started"

    with ControlPlane("middle") as plane:
        assert not any(orphan.alive() for orphan in orphans)
        assert Status.of(plane).phase == "Up"


def test_a_port_that_somebody_took_is_named_with_what_to_do(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(cluster, "free_ports", lambda count: [port] * count)
        plane = ControlPlane("port")

        with pytest.raises(ClusterError, match=rf"port {port} on 127.0.0.1, needed for etcd.*\n.*ss -lntp"):
            plane.up()

    assert processes_of(plane) == []
    assert Status.of(plane).phase == "Absent"


def test_down_of_a_cluster_that_is_not_there_is_no_error():
    ControlPlane("never").down()

    assert not Paths.of("never").root.exists()


def test_fake_nodes_run_pods_that_ask_for_them_and_let_go_of_them_when_deleted():
    with ControlPlane("fake", fake_nodes=3, client_qps=200) as plane:
        assert Status.of(plane).nodes == dict.fromkeys(["fake-0000", "fake-0001", "fake-0002"], "True")
        spec = {
            "containers": [{"name": "c", "image": "none"}],
            "initContainers": [{"name": "i", "image": "none"}],
            "nodeSelector": fake_nodes.SELECTOR,
            "tolerations": [fake_nodes.toleration()],
        }
        for number in range(6):
            pod = {"metadata": {"name": f"p{number}", "labels": {"app": "p"}}, "spec": spec}
            plane.api().create("/api/v1/namespaces/default/pods", pod)

        kubectl(plane, "wait", "--for=condition=Ready", "pod", "--selector=app=p", "--timeout=25s")
        pods = json.loads(kubectl(plane, "get", "pods", "-o", "json"))["items"]
        assert len({one["status"]["podIP"] for one in pods}) == 6
        assert all(one["status"]["containerStatuses"][0]["state"]["running"] for one in pods)
        kubectl(plane, "delete", "pod", "--selector=app=p", "--timeout=25s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing(number):
    paths = Paths.of("interrupted")
    command = [sys.executable, "-m", "dtj_cluster", "up", "--control-plane-only", "--name", "interrupted"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as starting:
        assert starting.stderr is not None
        said = []
        for line in starting.stderr:
            said.append(line)
            if "API server" in line:
                starting.send_signal(number)

    assert starting.returncode == 130
    assert "interrupted" in said[-1]
    assert "Traceback" not in "".join(said)
    assert marked(paths.root) == []
    assert paths.load() is None


def test_a_program_that_dies_is_shown_with_its_last_words_and_takes_the_rest_along(monkeypatch, tmp_path):
    broken = tmp_path / "kube-scheduler"
    broken.write_text("#!/bin/sh\necho 'the disk is on fire' >&2\nexit 3\n")
    broken.chmod(0o755)
    real = binaries.ensure
    monkeypatch.setattr(binaries, "ensure", lambda *names: {**real(*names), "kube-scheduler": broken})
    plane = ControlPlane("dies")

    with pytest.raises(ClusterError, match=r"(?s)scheduler ended .*the disk is on fire"):
        plane.up()

    assert processes_of(plane) == []
    assert Status.of(plane).phase == "Absent"
    assert (plane.paths.root / "logs" / "scheduler.log").exists()
