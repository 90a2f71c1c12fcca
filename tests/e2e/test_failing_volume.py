"""A volume that is read-only at the start, and full later on: both are told, cost no restart of the user's, and end."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_cluster.state import Paths

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

FAILING = names.Condition.CHECKPOINT_FAILING


class SmallVolume:
    """A tmpfs in place of the claim's folder, in the mount namespace of one node: it goes with the node.

    It is mounted twice. What one mount is turned to, the file system itself is turned to as well; the other mount, and
    those that containers have of it, can do what the file system can.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.node = jobs.cluster.nodes[0].name
        self._folder = jobs.folder
        self._handle = f"/run/{jobs.namespace}"
        self._init = _init_of(Paths.of(jobs.cluster.name).node(self.node))

    def mount(self) -> None:
        """Have it there."""
        self._run("mkdir", self._handle)
        self._run("mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "tmpfs", self._handle)
        self._run("mount", "--bind", self._handle, str(self._folder))

    def turn(self, how: str) -> None:
        """Turn it `ro` or `rw`."""
        self._run("mount", "-o", f"remount,{how}", self._handle)

    def unmount(self) -> None:
        """Whoever still uses it keeps it."""
        self._run("umount", "--lazy", str(self._folder), self._handle)

    def fill(self) -> None:
        """Leave no room at all."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("dd", "if=/dev/zero", f"of={self._folder}/ballast", "bs=4096", "status=none")

    def free(self) -> None:
        """Undo that."""
        self._run("rm", f"{self._folder}/ballast")

    def _run(self, *command: str) -> None:
        subprocess.run(["nsenter", "--target", str(self._init), "--mount", "--pid", "--", *command], check=True)


def _init_of(folder: Path) -> int:
    """The first process of a node, by its pid on this machine."""
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = cmdline.read_bytes().split(b"\0")
            status = cmdline.with_name("status").read_text()
            if str(folder).encode() in words and re.search(r"^NSpid:.*\t1$", status, re.MULTILINE):
                return int(cmdline.parent.name)
    raise AssertionError(f"no node runs in {folder}")


@pytest.fixture
def small(jobs: Jobs) -> Iterator[SmallVolume]:
    """Mounted read-only."""
    volume = SmallVolume(jobs)
    volume.mount()
    try:
        volume.turn("ro")
        yield volume
    finally:
        volume.unmount()


def condition(job: Object) -> Object:
    (found,) = [each for each in job["status"]["conditions"] if each["type"] == FAILING]
    return dict(found)


def test_one_that_is_read_only_and_full_is_told_and_training_goes_on_when_it_is_well(
    jobs: Jobs, small: SmallVolume
) -> None:
    def alone(spec: Object) -> None:
        spec["workers"]["replicas"] = 1
        pod = spec["workers"]["template"]["spec"]
        pod["nodeSelector"] = {"kubernetes.io/hostname": small.node}
        pod["containers"][0]["command"][-1] = "100000000"
        spec["checkpoint"]["every"] = {"seconds": 1}
        spec["failurePolicy"] = {"maxRestarts": 0, "backoff": {"initial": "1s", "max": "2s"}}

    name = jobs.apply("own-script.yaml", alone)
    told = condition(jobs.wait(name, f"condition={FAILING}", 180))
    assert told["reason"] == names.Reason.VOLUME_READ_ONLY
    assert f"Read-only file system: {names.VOLUME_MOUNT}/own-script-" in told["message"]
    assert "nothing has been saved yet" in told["message"]

    small.turn("rw")
    job = jobs.wait(name, f"condition={FAILING}=false", 120)
    first = jobs.wait_for_step(name, 10, 120)["status"]["progress"]["step"]

    small.fill()
    full = jobs.wait(name, f"condition={FAILING}", 120)
    assert condition(full)["reason"] == names.Reason.VOLUME_FULL
    assert "the last checkpoint is that of step" in condition(full)["message"]
    small.free()
    job = jobs.wait(name, f"condition={FAILING}=false", 120)
    job = jobs.wait_for_step(name, first + 10, 120)

    restarts = job["status"]["restarts"]
    assert restarts.get("counted", 0) == 0, restarts
    assert set(restarts.get("byCause", {})) <= {names.Cause.VOLUME_FAILED}, restarts
    assert job["status"]["checkpoint"]["lastStep"] >= full["status"]["checkpoint"]["lastStep"]
