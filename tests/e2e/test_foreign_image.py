"""A job whose image is not the trainer's: an init container brings the launcher.

The image is another Debian with another Python and its own torch, and nothing of ours. The unit tests of what is
brought into it run there as well.
"""

from __future__ import annotations

import pytest
from e2e_jobs import Jobs, Object
from in_foreign_image import NEED_MORE, OURS, bring, command, unknown

from dtj_api import names
from dtj_cluster import foreign_image, images

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

ASK = (
    "import dtj, pathlib, sys; "
    "print(dtj.__file__, pathlib.Path('/proc/1/cmdline').read_bytes().split(b'\\0')[1].decode(), sys.version)"
)
LACKS = "import importlib.util, sys; print([each for each in sys.argv[1:] if importlib.util.find_spec(each) is None])"


@pytest.fixture
def node(jobs: Jobs) -> str:
    """The node that has the image: it is large, and one has room for all pods here."""
    node = jobs.cluster.nodes[0]
    images.load("foreign", [node])
    return node.name


def put(spec: Object, node: str) -> Object:
    """Have a pod run in the image; returns its container."""
    spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    container: Object = spec["containers"][0]
    container |= {"image": foreign_image.REFERENCE, "imagePullPolicy": "Never"}
    return container


@pytest.mark.parametrize("how", ["fork", "subprocess"])
def test_a_foreign_image_trains_with_a_launcher_that_is_brought(jobs: Jobs, node: str, how: str) -> None:
    def change(spec: Object) -> None:
        container = put(spec["workers"]["template"]["spec"], node)
        script = "python /code/own_script.py --steps 400"
        # A subprocess finds dtj by the environment.
        shell = ["sh", "-c", f'python -c "{ASK}" && exec {script}']
        container["command"] = script.split() if how == "fork" else shell

    name = jobs.apply("own-script.yaml", change)
    job = jobs.wait(name, "condition=Succeeded", 480)

    assert job["status"]["progress"]["step"] == 400
    if how == "subprocess":
        start = f"{names.LAUNCHER_MOUNT}/{names.LAUNCHER_START}"
        found = f"{names.LAUNCHER_MOUNT}/dtj/__init__.py {start} {foreign_image.PYTHON}."
        assert found in jobs.logs_of_ranks(name)


def run(jobs: Jobs, node: str, name: str, command: list[str], seconds: int) -> tuple[str, str]:
    """The phase in which a pod of the image ends that mounts the claim, and what it printed."""
    # Tests make mount namespaces, as root of the machine may.
    container = {
        "name": "main",
        "command": command,
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "work", "mountPath": "/checkout"}, {"name": "memory", "mountPath": "/dev/shm"}],
        "env": [
            {"name": key, "value": value}
            for key, value in {"CI": "true", "OMP_NUM_THREADS": "1", "RES_OPTIONS": "timeout:1 attempts:5"}.items()
        ],
    }
    spec: Object = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": jobs.place.claim}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
        ],
    }
    put(spec, node)
    metadata = {"name": name, "namespace": jobs.namespace}
    jobs.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    ended: list[str] = []

    def look() -> bool:
        phase = jobs.kubectl.get("pods", name, jobs.namespace)["status"]["phase"]
        ended[:] = [phase] if phase in ("Succeeded", "Failed") else []
        return bool(ended)

    jobs.wait_until(f"the end of the pod {name}", look, seconds)
    return ended[0], jobs.kubectl("logs", name, "-n", jobs.namespace)


def test_the_image_lacks_all_of_ours_and_what_tests_are_left_out_for(jobs: Jobs, node: str) -> None:
    lacked = sorted({*OURS, *NEED_MORE, "uv"})
    phase, said = run(jobs, node, "look", ["python", "-c", LACKS, *lacked], 300)
    assert (phase, said.strip()) == ("Succeeded", str(lacked))
    assert unknown() == []


def test_the_unit_tests_of_what_is_brought_pass_in_the_image(jobs: Jobs, node: str) -> None:
    bring(jobs.folder)
    phase, said = run(jobs, node, "unit-tests", ["sh", "-c", command("/checkout")], 1200)
    print(said)
    assert phase == "Succeeded", said[-20_000:]
