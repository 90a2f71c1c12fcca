"""The local cluster itself: what its real nodes must do before any other end-to-end test can be believed."""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dtj_cluster import Cluster, ClusterError, binaries, cgroups, images, network, preflight
from dtj_cluster.processes import ProcessIdentity, marked
from dtj_cluster.status import Status

pytestmark = pytest.mark.e2e

PORT = 8000
RESOLVE = """
import socket, sys, time
for _ in range(60):
    try:
        sys.exit(socket.gethostbyname(sys.argv[1]) and 0)
    except OSError:
        time.sleep(0.5)
sys.exit("not found within 30 s")
"""
# The firewall learns of a new pod a moment after it runs: repeat inside the pod until it lets it through.
REACH = """
import socket, sys, time
until = time.monotonic() + 30
while True:
    try:
        sys.exit(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close())
    except OSError as error:
        if time.monotonic() > until:
            sys.exit(f"not reached within 30 s: {error}")
        time.sleep(0.5)
"""
CONNECT = f"import socket, sys; socket.create_connection((sys.argv[1], {PORT}), 3)"


def kubectl(cluster, *arguments, check=True, stdin=None):
    program = binaries.ensure("kubectl")["kubectl"]
    done = subprocess.run(
        [program, "--kubeconfig", cluster.kubeconfig, *arguments],
        capture_output=True, text=True, check=False, timeout=90, input=stdin,
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
    kubectl(cluster, "wait", "-n", namespace, f"--for={condition}", "--timeout=60s", *names)


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


def test_a_pod_finds_another_by_its_service_name_across_nodes(cluster, peers):
    address = kubectl(cluster, "get", "-n", peers, "pod/a", "-o", "jsonpath={.status.podIP}").stdout

    for name in ("a.peers", f"a.peers.{peers}.svc.cluster.local"):
        program = f"import socket; print(socket.gethostbyname('{name}'))"
        assert kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", program).stdout.strip() == address
    kubectl(cluster, "exec", "-n", peers, "b", "--", "python3", "-c", CONNECT, "a.peers")


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
    attempt = ["exec", "-n", peers, "b", "--", "python3", "-c", CONNECT, "a.peers"]
    # The firewall follows the API by a moment: repeat inside the pod until it has.
    until = "import socket, sys\nfor _ in range(30):\n  try: socket.create_connection((sys.argv[1], 8000), 1).close()\n"
    refused = until + "  except OSError: sys.exit(0)\n  import time; time.sleep(0.5)\nsys.exit('still let in')"
    allowed = until + "  except OSError: continue\n  sys.exit(0)\nsys.exit('still refused')"

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


def container_processes(cluster, namespace, name):
    """All processes in the control groups of a pod."""
    uid = kubectl(cluster, "get", "-n", namespace, f"pod/{name}", "-o", "jsonpath={.metadata.uid}").stdout
    top = cgroups.hierarchies()[0] / cgroups.name(cluster.name)
    pids = {pid for file in top.glob(f"*/kubepods/**/pod{uid}/**/cgroup.procs") for pid in file.read_text().split()}
    assert pids
    return [identity for pid in pids if (identity := ProcessIdentity.of(int(pid)))]


def node_status(cluster, node):
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return kubectl(cluster, "get", f"node/{node}", "-o", path).stdout


def test_a_killed_node_takes_its_containers_with_it_and_cuts_no_other_off(cluster, peers):
    dying, staying = container_processes(cluster, peers, "b"), container_processes(cluster, peers, "a")

    # Not taken from a port, which would change it under the other nodes when that port's node dies.
    state = cluster.paths.load()
    assert state is not None
    assert state.network is not None
    bridge = Path("/sys/class/net", network.Network(state.network).bridge)
    assert (bridge / "addr_assign_type").read_text() == "3\n"

    cluster.kill_node("node-1")
    try:
        assert not any(process.alive() for process in dying)
        wait(cluster, peers, "condition=Ready=Unknown", "node/node-1")
        assert all(process.alive() for process in staying)
        assert node_status(cluster, "node-0") == "True"
    finally:
        cluster.start_node("node-1")

    assert node_status(cluster, "node-1") == "True"
    wait(cluster, peers, "jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/b")
    wait(cluster, peers, "condition=Ready", "pod/a", "pod/b")


def test_containers_outlive_a_stopped_kubelet(cluster, peers):
    containers = container_processes(cluster, peers, "b")

    cluster.stop_node("node-1")
    try:
        wait(cluster, peers, "condition=Ready=Unknown", "node/node-1")
        assert all(process.alive() for process in containers)
    finally:
        cluster.start_node("node-1")

    wait(cluster, peers, "condition=Ready", "pod/b")
    assert all(process.alive() for process in containers)


def test_a_node_that_is_not_there_is_named_with_those_that_are(cluster):
    with pytest.raises(ClusterError, match="no node 'node-7'; it has node-0, node-1"):
        cluster.kill_node("node-7")


def machine():
    """What a cluster changes on this machine, apart from its own folder."""
    nat = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    return {
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "links": sorted(link["ifname"] for link in json.loads(network.run("ip", "-json", "link"))),
        "routes": network.run("ip", "route"),
        "nat": [line for line in nat.splitlines() if line.startswith("-A")],
        "kernel": preflight.kernel_settings(),
        "control groups": sorted(str(folder) for top in cgroups.hierarchies() for folder in top.glob("dtj-*")),
        "places": preflight.missing_folders(),
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

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr
    assert "--control-plane-only" in done.stderr
    assert "Traceback" not in done.stderr


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
