"""Pods on the local cluster that need nothing of ours: web servers that find each other."""

import json
import subprocess

import pytest

from dtj_cluster import binaries, cgroups, images
from dtj_cluster.identity import ProcessIdentity

PORT = 8000
RESOLVE = """
import socket, sys, time
for _ in range(240):
    try:
        sys.exit(socket.gethostbyname(sys.argv[1]) and 0)
    except OSError:
        time.sleep(0.5)
sys.exit("not found within 120 s")
"""


def kubectl(cluster, *arguments, check=True, stdin=None):
    program = binaries.ensure("kubectl")["kubectl"]
    done = subprocess.run(
        [program, "--kubeconfig", cluster.kubeconfig, *arguments],
        capture_output=True, text=True, check=False, timeout=240, input=stdin,
    )  # fmt: skip
    if check and done.returncode != 0:
        pytest.fail(f"kubectl {' '.join(map(str, arguments))}: {done.stderr or done.stdout}")
    return done


def pod(name, node, **spec):
    server = {
        "name": "main",
        "image": images.reference("thin"),
        "command": ["python3", "-m", "http.server", str(PORT)],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "peers", "name": name}},
        "spec": {
            "nodeName": node, "hostname": name, "subdomain": "peers", "terminationGracePeriodSeconds": 0,
            "containers": [server], **spec,
        },
    }  # fmt: skip


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "peers"},
    "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": "peers"}},
}


def apply(cluster, namespace, *objects):
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    kubectl(cluster, "apply", "-n", namespace, "-f", "-", stdin=text)


def wait(cluster, namespace, condition, *names):
    kubectl(cluster, "wait", "-n", namespace, f"--for={condition}", "--timeout=180s", *names)


@pytest.fixture(scope="module")
def thin(cluster):
    images.load("thin", cluster.nodes)


@pytest.fixture
def namespace(cluster, thin, request):
    name = request.node.name.replace("_", "-").removeprefix("test-")[:60].rstrip("-")
    kubectl(cluster, "create", "namespace", name)
    yield name
    kubectl(cluster, "delete", "namespace", name, "--wait=false")


@pytest.fixture
def peers(cluster, namespace):
    """One web server on each node behind a headless service; yields the namespace."""
    apply(cluster, namespace, SERVICE, pod("a", "node-0"), pod("b", "node-1"))
    wait(cluster, namespace, "condition=Ready", "pod/a", "pod/b")
    # The names follow the API by a moment: repeat inside the pod until they have.
    for name in ("a", "b"):
        kubectl(cluster, "exec", "-n", namespace, name, "--", "python3", "-c", RESOLVE, "a.peers")
    return namespace


def container_processes(cluster, namespace, name):
    """All processes in the control groups of a pod."""
    uid = kubectl(cluster, "get", "-n", namespace, f"pod/{name}", "-o", "jsonpath={.metadata.uid}").stdout
    top = cgroups.hierarchies()[0] / cgroups.name(cluster.name)
    pids = {pid for file in top.glob(f"*/kubepods/**/pod{uid}/**/cgroup.procs") for pid in file.read_text().split()}
    assert pids
    return [identity for pid in pids if (identity := ProcessIdentity.of(int(pid)))]
