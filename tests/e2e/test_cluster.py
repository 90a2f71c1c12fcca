"""The local cluster itself: what its real nodes must do before any other end-to-end test can be believed."""

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cluster_pods import PORT, apply, kubectl, pod, wait

from dtj_cluster import images, network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

XDG = [f"{name}={os.environ[name]}" for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME") if name in os.environ]
# The firewall learns of a new pod a moment after it runs: repeat inside the pod until it lets it through.
REACH = """
import socket, sys, time
until = time.monotonic() + 120
while True:
    try:
        sys.exit(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close())
    except OSError as error:
        if time.monotonic() > until:
            sys.exit(f"not reached within 120 s: {error}")
        time.sleep(0.5)
"""


def test_a_pod_finds_another_by_its_service_name_across_nodes(cluster, peers):
    address = kubectl(cluster, "get", "-n", peers, "pod/a", "-o", "jsonpath={.status.podIP}").stdout

    for name in ("a.peers", f"a.peers.{peers}.svc.cluster.local"):
        program = f"import socket; print(socket.gethostbyname('{name}'))"
        assert kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", program).stdout.strip() == address
    kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", REACH, "a.peers", str(PORT))


def test_a_shell_gets_the_cluster_and_a_kubectl_of_its_own(cluster):
    script = f'eval "$("{sys.executable}" -m dtj_cluster env --name {cluster.name})"; exec kubectl get nodes -o name'

    told = subprocess.run(
        ["env", "-i", f"HOME={Path.home()}", f"PATH={os.environ['PATH']}", *XDG, "sh", "-c", script],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert told.stdout == "node/node-0\nnode/node-1\n"


def test_a_foreign_name_does_not_exist_at_once(cluster, peers):
    program = "import socket; socket.gethostbyname('huggingface.co')"

    done = kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", program, check=False)

    assert "Name or service not known" in done.stderr


def test_a_network_policy_refuses_and_allows_across_nodes(cluster, peers):
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only-allowed"},
        "spec": {
            "podSelector": {"matchLabels": {"name": "a"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"allowed": "yes"}}}]}],
        },
    }
    attempt = ["exec", "-n", peers, "b", "--", "python3", "-c", REACH, "a.peers", str(PORT)]
    # The firewall follows the API by a moment: repeat inside the pod until it has.
    until = (
        "import socket, sys\nfor _ in range(120):\n  try: socket.create_connection((sys.argv[1], 8000), 1).close()\n"
    )
    refused = until + "  except OSError: sys.exit(0)\n  import time; time.sleep(0.5)\nsys.exit('still let in')"
    allowed = until + (
        "  except OSError:\n    import time; time.sleep(0.5)\n    continue\n  sys.exit(0)\nsys.exit('still refused')"
    )

    kubectl(cluster, *attempt)
    apply(cluster, peers, policy)
    kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", refused, "a.peers")
    kubectl(cluster, "label", "-n", peers, "pod/b", "allowed=yes")
    kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", allowed, "a.peers")
    kubectl(cluster, "label", "-n", peers, "pod/b", "allowed-")
    kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", refused, "a.peers")


def test_logs_and_services_work_and_the_outside_is_unreachable_at_once(cluster, peers):
    api = ["exec", "-n", peers, "a", "--", "python3", "-c", REACH, "kubernetes.default.svc.cluster.local", "443"]
    kubectl(cluster, *api)
    assert '"GET' not in kubectl(cluster, "logs", "-n", peers, "a").stdout
    kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", REACH, "a.peers", "8000")
    get = "import urllib.request; urllib.request.urlopen('http://a.peers:8000')"
    kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", get)
    assert '"GET / HTTP/1.1" 200' in kubectl(cluster, "logs", "-n", peers, "a").stdout

    # An address of the range that is reserved for documentation: nobody has it.
    outside = "import socket; socket.create_connection(('203.0.113.1', 80), 3)"
    done = kubectl(cluster, "exec", "-n", peers, "a", "--", "python3", "-c", outside, check=False)

    assert "Network is unreachable" in done.stderr


def test_files_on_a_claim_are_seen_from_both_nodes_and_by_the_machine(cluster, namespace):
    folder = cluster.claim(namespace, "work")
    wait(cluster, namespace, "jsonpath={.status.phase}=Bound", "pvc/work")
    assert cluster.claim(namespace, "work") == folder, "asked for again, it is the same"
    volumes = [{"name": "work", "persistentVolumeClaim": {"claimName": "work"}}]
    pods = []
    for name, node in (("a", "node-0"), ("b", "node-1")):
        one = pod(name, node, volumes=volumes, securityContext={"runAsUser": 1000, "runAsGroup": 1000})
        one["spec"]["containers"][0]["volumeMounts"] = [{"name": "work", "mountPath": "/claim"}]
        pods.append(one)
    apply(cluster, namespace, *pods)
    wait(cluster, namespace, "condition=Ready", "pod/a", "pod/b")

    kubectl(cluster, "exec", "-n", namespace, "a", "--", "sh", "-c", "echo from-a > /claim/file")

    assert kubectl(cluster, "exec", "-n", namespace, "b", "--", "cat", "/claim/file").stdout == "from-a\n"
    assert (folder / "file").read_text() == "from-a\n"


def test_a_claim_made_again_finds_the_files_of_the_first(cluster, namespace):
    (cluster.claim(namespace, "again") / "file").write_text("kept")
    wait(cluster, namespace, "jsonpath={.status.phase}=Bound", "pvc/again")
    kubectl(cluster, "delete", "-n", namespace, "pvc/again")

    folder = cluster.claim(namespace, "again")

    wait(cluster, namespace, "jsonpath={.status.phase}=Bound", "pvc/again")
    assert (folder / "file").read_text() == "kept"


class OneImage(http.server.BaseHTTPRequestHandler):
    """As much of a registry as a pull needs: the image `pause` under the tag 1."""

    def do_GET(self):
        # containerd adds `?ns=` with the name that the image was asked for by.
        reference = self.path.partition("?")[0].rpartition("/")[2]
        digest = images.layout().digest(images.ensure("pause")) if reference == "1" else reference or "none"
        assert digest is not None
        blob = images.layout().blobs / digest.removeprefix("sha256:")
        content = b"" if not reference else blob.read_bytes()
        self.send_response(200)
        kind = "vnd.oci.image.manifest.v1+json" if "/manifests/" in self.path else "octet-stream"
        self.send_header("Content-Type", f"application/{kind}")
        self.send_header("Docker-Content-Digest", digest)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET


@pytest.fixture
def registry():
    with http.server.ThreadingHTTPServer(("127.0.0.1", network.REGISTRY_PORT), OneImage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{network.REGISTRY_PORT}"
        server.shutdown()
        thread.join()


def test_nodes_pull_from_a_registry_on_the_loopback_of_the_machine(cluster, namespace, registry):
    one = pod("pulled", "node-1")
    one["spec"]["containers"] = [
        {"name": "main", "image": f"{registry}/some/pause:1", "imagePullPolicy": "Always"}
    ]  # fmt: skip

    apply(cluster, namespace, one)

    wait(cluster, namespace, "condition=Ready", "pod/pulled")
