"""What the local cluster leaves behind on the machine, however it ends: nothing but images and volume."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_pods import apply, container_processes, kubectl, pod, wait

from dtj_cluster import Cluster, cgroups, footprint, images, network
from dtj_cluster.identity import marked
from dtj_cluster.status import Status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def machine():
    """What a cluster changes on this machine, apart from its own folder."""
    nat = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    return {
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "links": sorted(link["ifname"] for link in json.loads(network.run("ip", "-json", "link"))),
        "routes": network.run("ip", "route"),
        "nat": [line for line in nat.splitlines() if line.startswith("-A")],
        "kernel": footprint.kernel_settings(),
        "control groups": sorted(str(folder) for top in cgroups.hierarchies() for folder in top.glob("dtj-*")),
        "places": footprint.missing_folders(),
        "shim sockets": sorted(Path("/run/containerd").glob("s/*")),
    }


def test_down_leaves_nothing_running_or_mounted_and_keeps_images_and_volume(thin):
    before = machine()
    with Cluster("gone", nodes=1, gpus_per_node=2) as cluster:
        images.load("thin", cluster.nodes)
        one = pod("a", "node-0")
        one["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "2"}}
        apply(cluster, "default", one)
        wait(cluster, "default", "condition=Ready", "pod/a")
        (cluster.claim("default", "kept") / "file").write_text("kept")
        containers = container_processes(cluster, "default", "a")
        assert machine() != before

    assert machine() == before
    assert marked(cluster.paths.root) == []
    assert not any(process.alive() for process in containers)
    assert (cluster.paths.volume / "default" / "kept" / "file").read_text() == "kept"
    cluster.down(purge=True)
    assert not cluster.paths.root.exists()


def test_what_kill_9_of_everything_left_is_cleared_by_the_next_up(thin):
    before = machine()
    cluster = Cluster("hard", nodes=1)
    try:
        cluster.up()
        images.load("thin", cluster.nodes)
        apply(cluster, "default", pod("old", "node-0"))
        wait(cluster, "default", "condition=Ready", "pod/old")
        for process in marked(cluster.paths.root):
            process.end(0)
        left = machine()
        assert left["links"] != before["links"]
        assert left["control groups"] != before["control groups"]
        assert Status.of(cluster).phase == "Broken"

        cluster.up()

        apply(cluster, "default", pod("new", "node-0"))
        wait(cluster, "default", "condition=Ready", "pod/new")
        assert kubectl(cluster, "get", "pods", "-o", "name").stdout == "pod/new\n"
    finally:
        cluster.down(purge=True)
    assert machine() == before


def test_a_missing_capability_is_named_with_what_to_do():
    command = ["setpriv", "--bounding-set=-net_admin", sys.executable, "-m", "dtj_cluster", "up", "--name", "weak"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)

    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr
    assert "--control-plane-only" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tenths", range(2, 60, 6))
def test_wherever_a_hard_kill_strikes_the_next_up_works_and_down_leaves_nothing(tenths):
    before = machine()
    cluster = Cluster("struck", nodes=2)
    command = [sys.executable, "-m", "dtj_cluster", "up", "--name", "struck"]
    try:
        with (
            subprocess.Popen(command, stderr=subprocess.DEVNULL) as starting,
            contextlib.suppress(subprocess.TimeoutExpired),
        ):
            try:
                starting.wait(tenths / 10)
            finally:
                starting.kill()

        cluster.up()

        assert Status.of(cluster).nodes == {"node-0": "True", "node-1": "True"}
    finally:
        cluster.down(purge=True)
    assert machine() == before
    assert marked(cluster.paths.root) == []
