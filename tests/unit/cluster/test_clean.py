"""Only a cluster's own things are found, however they are called."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dtj_cluster import clean, footprint, network
from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity
from dtj_cluster.processes import ProcessTable
from dtj_cluster.procfs import boot_id
from dtj_cluster.state import Options, Paths, Phase, State

ROOT = Path("/state/dtj/cluster-one")
MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:30 / /state/dtj/cluster-one/nodes/node-0/kubelet rw - tmpfs tmpfs rw
31 30 0:31 / /state/dtj/cluster-one/nodes/node-0/kubelet/pods/a\\040b rw - tmpfs tmpfs rw
32 22 0:32 / /state/dtj/cluster-one-more/nodes rw - tmpfs tmpfs rw
33 22 0:33 / /state/dtj/cluster-two rw - tmpfs tmpfs rw
"""


def test_mounts_are_found_innermost_first_and_only_below_the_cluster():
    assert clean.mounts_below(ROOT, MOUNTS) == [
        "/state/dtj/cluster-one/nodes/node-0/kubelet/pods/a b",
        "/state/dtj/cluster-one/nodes/node-0/kubelet",
    ]


def test_links_are_ours_by_the_label_of_their_bridge_not_by_their_name():
    links: list[dict[str, object]] = [
        {"ifname": "lo"},
        {"ifname": "dtj0", "ifalias": network.alias(ROOT)},
        {"ifname": "dtj0n0", "master": "dtj0"},
        {"ifname": "dtj1", "ifalias": network.alias(Path("/state/dtj/cluster-two"))},
        {"ifname": "dtj1n0", "master": "dtj1"},
        {"ifname": "dtj7"},
    ]

    assert clean.own_links(ROOT, links) == ["dtj0n0", "dtj0"]


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Paths.of("one")


def state(**changes):
    made = State(name="one", boot=boot_id(), phase=Phase.UP, options=Options(nodes=0, control_plane_only=True))
    return made.model_copy(update=changes)


@pytest.fixture
def running(paths):
    table = ProcessTable(paths.root)
    for name in ("etcd", "apiserver"):
        table.start(name, ["sleep", "600"])
    yield table
    for name in ("etcd", "apiserver"):
        table.stop(name)


def test_a_cluster_that_came_up_and_still_runs_is_intact(paths, running):
    assert clean.intact(paths, state())


BROKEN = [{"phase": Phase.STARTING}, {"phase": Phase.STOPPING}, {"boot": "another"}]


@pytest.mark.parametrize("changes", BROKEN, ids=str)
def test_a_cluster_whose_last_command_was_cut_short_is_not_intact(paths, running, changes):
    assert not clean.intact(paths, state(**changes))


@pytest.mark.parametrize("lost", ["etcd", "apiserver"])
def test_a_cluster_that_lost_its_heart_is_not_intact(paths, running, lost):
    running.stop(lost)

    assert not clean.intact(paths, state())


def test_clearing_ends_all_processes_and_keeps_images_volume_and_logs(paths, running):
    paths.save(state())
    for name in ("nodes/node-0/containerd", "nodes/node-0/kubelet", "volume", "etcd", "pki"):
        (paths.root / name).mkdir(parents=True)

    clean.clear(paths, state())

    assert running.alive() == {}
    left = {str(entry.relative_to(paths.root)) for entry in paths.root.rglob("*") if entry.is_dir()}
    assert left == {"nodes", "nodes/node-0", "nodes/node-0/containerd", "volume", "logs"}
    assert paths.load() is None


def test_orphans_are_cleared_and_clusters_with_a_living_owner_are_not(paths, running, monkeypatch):
    living = ProcessIdentity.of(1)
    paths.save(state(owner=living))
    other = Paths.of("orphan")
    orphaned = ProcessTable(other.root).start("etcd", ["sleep", "600"])
    other.save(state(name="orphan", owner=ProcessIdentity(1, 1, "an earlier boot")))

    clean.clear_orphans()

    assert not orphaned.alive()
    assert not other.root.exists()
    assert clean.intact(paths, state())


def test_an_orphan_that_another_process_clears_is_waited_for_and_what_comes_after_it_is_left_alone(paths, running):
    """As the processes of one test run meet what a killed run left, all at the same moment."""
    gone = ProcessIdentity(1, 1, "an earlier boot")
    paths.save(state(owner=gone))
    with ThreadPoolExecutor(1) as others:
        with paths.locked():
            cleared = others.submit(clean.clear_orphans)
            with pytest.raises(TimeoutError):
                cleared.result(timeout=0.5)
            paths.save(state(owner=ProcessIdentity.of(os.getpid())))
        cleared.result(timeout=60)

    assert clean.intact(paths, state())


def test_an_orphan_that_another_process_has_removed_meanwhile_leaves_no_folder(paths, monkeypatch):
    paths.save(state(owner=ProcessIdentity(1, 1, "an earlier boot")))
    look = clean._orphaned

    def look_before_another_one_removes_it(one):
        monkeypatch.setattr(clean, "_orphaned", look)
        found = look(one)
        clean.remove_files(one)
        return found

    monkeypatch.setattr(clean, "_orphaned", look_before_another_one_removes_it)

    clean.clear_orphans()

    assert not paths.root.exists()


def test_who_waits_for_a_cluster_that_is_removed_holds_it_alone_then(paths, monkeypatch):
    """Nobody holds a file that is none any more, beside another one who has made it anew."""
    waits = threading.Event()
    sleep = time.sleep
    monkeypatch.setattr("dtj_cluster.state.time.sleep", lambda seconds: (waits.set(), sleep(seconds)))

    def hold():
        with paths.locked(patience=60), pytest.raises(ClusterError, match="at work"), Paths.of("one").locked():
            pass

    with ThreadPoolExecutor(1) as others:
        with paths.locked():
            holds = others.submit(hold)
            assert waits.wait(60)
            clean.remove_files(paths)
        holds.result(timeout=60)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A kernel parameter and a folder that a kubelet changed and made, as `down` finds them."""
    parameter, folder = tmp_path / "sys" / "vm" / "overcommit_memory", tmp_path / "cni"
    parameter.parent.mkdir(parents=True)
    parameter.write_text("1")
    folder.mkdir()
    monkeypatch.setattr(footprint, "_SYSCTL", tmp_path / "sys")
    return parameter, folder


def of_nodes(name, folder, **changes):
    return state(name=name, network=0, kernel={"vm/overcommit_memory": "0"}, folders=[str(folder)], **changes)


def test_the_machine_gets_back_what_the_kubelets_changed(paths, machine):
    parameter, folder = machine

    clean.restore_machine(paths, of_nodes("one", folder))

    assert parameter.read_text() == "0"
    assert not folder.exists()


def test_a_folder_that_somebody_filled_meanwhile_stays(paths, machine):
    _, folder = machine
    (folder / "theirs").touch()

    clean.restore_machine(paths, of_nodes("one", folder))

    assert (folder / "theirs").exists()


@pytest.mark.parametrize(("boot", "handed_back"), [(None, "1"), ("an earlier boot", "0")])
def test_the_last_cluster_with_nodes_hands_the_machine_back(paths, machine, boot, handed_back):
    parameter, folder = machine
    other = Paths.of("other")
    other.save(of_nodes("other", folder, boot=boot or boot_id()))

    clean.restore_machine(paths, of_nodes("one", folder))

    assert parameter.read_text() == handed_back


def test_a_second_cluster_remembers_the_machine_as_the_first_one_found_it(paths, machine, monkeypatch):
    _, folder = machine
    monkeypatch.setattr(footprint, "kernel_settings", lambda: {"vm/overcommit_memory": "1"})
    monkeypatch.setattr(footprint, "missing_folders", list)
    monkeypatch.setattr(network, "in_use", list)
    Paths.of("first").save(of_nodes("first", folder))

    second = clean.take_from_machine(paths, state(name="one"))

    assert second.kernel == {"vm/overcommit_memory": "0"}
    assert second.folders == [str(folder)]
    assert second.network == 1
