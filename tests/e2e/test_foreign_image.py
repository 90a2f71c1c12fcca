"""A job whose image is not the trainer's: an init container brings the launcher, the same one in worker and store.

The image here is the trainer's under another name, since none can be pulled; that dtj is taken from the folder, and not
from the image, is what the processes say.
"""

from __future__ import annotations

import subprocess

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_cluster import binaries

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FOREIGN = "localhost/somebody/torch:1"
ASK = "import dtj, pathlib; print(dtj.__file__, pathlib.Path('/proc/1/cmdline').read_bytes().split(b'\\0')[1].decode())"


@pytest.fixture
def foreign(jobs: Jobs) -> str:
    """The image, on all nodes."""
    ctr = binaries.ensure("ctr")["ctr"]
    for node in jobs.cluster.nodes:
        client = [str(ctr), "--address", str(node.containerd_socket), "--namespace", "k8s.io"]
        tag = [*client, "images", "tag", "--force", jobs.place.trainer.reference, FOREIGN]
        subprocess.run(tag, check=True, capture_output=True)
    return FOREIGN


def test_a_foreign_image_trains_with_a_launcher_that_is_brought(jobs: Jobs, foreign: str) -> None:
    def change(spec: Object) -> None:
        container = spec["workers"]["template"]["spec"]["containers"][0]
        container["image"] = foreign
        # A subprocess, which finds dtj by the environment; the store runs as a module of the launcher.
        script = "python /code/own_script.py --steps 400"
        container["command"] = ["sh", "-c", f'python -c "{ASK}" && exec {script}']

    name = jobs.apply("own-script.yaml", change)
    job = jobs.wait(name, "condition=Succeeded", 240)

    assert job["status"]["progress"]["step"] == 400
    start = f"{names.LAUNCHER_MOUNT}/{names.LAUNCHER_START}"
    assert f"{names.LAUNCHER_MOUNT}/dtj/__init__.py {start}" in jobs.logs_of_ranks(name)
