"""Jobs on the real cluster, as a user has them: the example manifests, kubectl, and a kill inside a pod."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import secrets
import signal
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtj_api import names
from dtj_cluster import Cluster, binaries, images
from dtj_cluster.errors import ClusterError
from dtj_demo import chart
from dtj_demo.commands import Kubectl, run
from dtj_demo.place import CLAIM, Image, Place

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Object = dict[str, Any]

SIGNAL_A_RANK = """
import os, sys
# PID 1 is the launcher; its child preloads torch and forks the ranks.
def parent(pid):
    return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
ranks = sorted(pid for pid in pids if pid > 1 and parent(pid) > 1 and parent(parent(pid)) == 1)
if not ranks:
    sys.exit("no rank runs in this pod")
os.kill(ranks[0], int(sys.argv[1]))
print(ranks[0])
"""


def documents(example: str) -> list[Object]:
    """The objects of one file of examples/."""
    return [each for each in yaml.safe_load_all((EXAMPLES / example).read_text()) if each]


WATCHERS = "watchers"
"""The namespace that jobs may open their workers' metrics to."""


@dataclass
class Jobs:
    """One namespace of the cluster, with a claim that its jobs share."""

    place: Place
    cluster: Cluster
    namespace: str
    folder: Path
    """The claim's directory on this machine."""

    @property
    def kubectl(self) -> Kubectl:
        """kubectl for the cluster."""
        return self.place.kubectl

    def run(self, command: str) -> str:
        """What a shell command prints whose kubectl is in this namespace, as a user's is who works there."""
        path = f"{self.kubectl.program.parent}:{os.environ['PATH']}"
        with tempfile.TemporaryDirectory() as folder:
            chosen = Kubectl(self.kubectl.program, Path(folder, "kubeconfig"))
            Path(folder, "kubeconfig").write_bytes(self.cluster.kubeconfig.read_bytes())
            chosen("config", "set-context", "--current", "--namespace", self.namespace)
            return run(["bash", "-c", command], environment={**chosen.environment, "PATH": path})

    def apply(self, example: str, change: Callable[[Object], None] = lambda spec: None, name: str = "") -> str:
        """Apply an example with this cluster's claim and image.

        Args:
            example: file of examples/.
            change: edits the spec.
            name: of the job, where its own is not wanted.

        Returns:
            The job's name.
        """
        for item in copy.deepcopy(documents(example)):
            item["metadata"]["namespace"] = self.namespace
            if item["kind"] == names.KIND:
                name = name or item["metadata"]["name"]
                item["metadata"]["name"] = name
                self._fit(item["spec"])
                change(item["spec"])
            self.kubectl.apply(item)
        return name

    def _fit(self, spec: Object) -> None:
        if "checkpoint" in spec:
            spec["checkpoint"]["volume"] = {"claimName": self.place.claim}
        for container in spec["workers"]["template"]["spec"]["containers"]:
            container["image"] = self.place.trainer.reference
            container["imagePullPolicy"] = "IfNotPresent"

    def output_of(self, name: str, image: str, command: list[str], labels: dict[str, str] | None = None) -> str:
        """What a pod prints that runs a command to its end."""
        container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}
        self.kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": self.namespace, "labels": labels or {}},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            }
        )
        inside = ("-n", self.namespace)
        self.kubectl(
            "wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", *inside, "--timeout=180s", timeout=240
        )
        return self.kubectl("logs", name, *inside)

    def job(self, name: str) -> Object:
        """The job as stored."""
        found = self.kubectl.get(names.PLURAL, name, self.namespace)
        assert found is not None, f"the job {name} is gone"
        return found

    def wait(self, name: str, what: str, seconds: int) -> Object:
        """Wait until a condition or a field has its value (`kubectl wait --for`); fails with what the job says."""
        try:
            self.kubectl(
                "wait", f"--for={what}", f"{names.PLURAL}/{name}", "--namespace", self.namespace,
                f"--timeout={seconds}s", timeout=seconds + 30,
            )  # fmt: skip
        except ClusterError as error:
            pytest.fail(f"{error}\n{self.story(name)}")
        return self.job(name)

    def wait_for_step(self, name: str, step: int, seconds: int) -> Object:
        """Wait until the status tells of at least this step."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.job(name)
            if (found.get("status", {}).get("progress", {}).get("step") or 0) >= step:
                return found
            if found.get("status", {}).get("phase") in (names.Phase.FAILED, names.Phase.SUCCEEDED):
                break
            time.sleep(0.5)
        pytest.fail(f"{name} did not get to step {step} within {seconds} s while it ran\n{self.story(name)}")

    def wait_until(self, what: str, wanted: Callable[[], bool], seconds: int) -> None:
        """Wait until something is so that no status tells."""
        deadline = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline, f"not seen within {seconds} s: {what}"
            time.sleep(0.2)

    def pods(self, name: str) -> list[Object]:
        """The job's worker pods by name."""
        selector = f"{names.Label.JOB_NAME}={name},{names.Label.COMPONENT}={names.Component.WORKER}"
        told = self.kubectl("get", "pods", "-n", self.namespace, "-l", selector, "-o", "json")
        found: list[Object] = json.loads(told)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def told(self, name: str, reason: str) -> list[str]:
        """The messages of a job's events of one reason."""
        chosen = f"involvedObject.name={name},reason={reason}"
        found = self.kubectl("get", "events", "-n", self.namespace, "--field-selector", chosen, "-o", "json")
        return [str(event["message"]) for event in json.loads(found)["items"]]

    def wait_for_pods(self, name: str, wanted: set[str], seconds: int) -> None:
        """Wait until these are the job's worker pods, and no others."""
        deadline = time.monotonic() + seconds
        while (found := {pod["metadata"]["name"] for pod in self.pods(name)}) != wanted:
            assert time.monotonic() < deadline, f"{name} has {sorted(found)}, not {sorted(wanted)}\n{self.story(name)}"
            time.sleep(0.5)

    def kill_rank(self, pod: str, signum: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the first rank in a pod."""
        inside = ("exec", "-n", self.namespace, pod, "-c", names.TRAINER_CONTAINER, "--")
        self.kubectl(*inside, "python", "-c", SIGNAL_A_RANK, str(int(signum)))

    def signal_processes(self, pod: str, signum: signal.Signals) -> None:
        """Send a signal to all processes of a pod, its own PID 1 included: from inside nobody can do that."""
        found = self.processes(pod)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def launcher(self, pod: str) -> int:
        """The launcher of a pod, by its pid on this machine."""
        found = (
            pid for pid in self.processes(pod) if b"dtj_trainer.launch" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        return next(pid for pid in found if re.search(r"NSpid:.*\t1\n", Path(f"/proc/{pid}/status").read_text()))

    def throttle(self, pod: str, cpus: float) -> None:
        """Give a pod no more than so many CPUs from now on, behind Kubernetes' back."""
        lines = Path(f"/proc/{self.processes(pod)[0]}/cgroup").read_text().splitlines()
        places = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
        quota = str(int(cpus * 100_000))
        if "cpu" in places:
            file, text = Path("/sys/fs/cgroup/cpu", places["cpu"].strip("/")).parent / "cpu.cfs_quota_us", quota
        else:
            file, text = Path("/sys/fs/cgroup", places[""].strip("/")).parent / "cpu.max", f"{quota} 100000"
        file.write_text(text)

    def processes(self, pod: str) -> list[int]:
        """The processes of a pod, by their pids on this machine."""
        found = json.loads(self.kubectl("get", "pod", pod, "-n", self.namespace, "-o", "json"))
        mark = f"/pod{found['metadata']['uid']}/"
        pids = []
        for cgroup in Path("/proc").glob("[0-9]*/cgroup"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if mark in cgroup.read_text():
                    pids.append(int(cgroup.parent.name))
        assert pids, f"no process of {pod} runs on this machine"
        return pids

    def patch(self, name: str, spec: Object) -> None:
        """Merge into the job's spec."""
        self.kubectl(
            "patch", names.PLURAL, name, "-n", self.namespace, "--type=merge", "-p", json.dumps({"spec": spec})
        )  # fmt: skip

    def wait_for_no_pods(self, name: str, seconds: int) -> None:
        """Wait until no pod of the job is left, its store included."""
        selector = f"{names.Label.JOB_NAME}={name}"
        told = self.kubectl("get", "pods", "-n", self.namespace, "-l", selector, "-o", "name")
        if told.strip():
            self.kubectl(
                "wait", "--for=delete", "pods", "-n", self.namespace, "-l", selector, f"--timeout={seconds}s",
                timeout=seconds + 30,
            )  # fmt: skip

    def work_dir(self, name: str) -> Path:
        """The job's directory on the shared volume, as this machine sees it."""
        job = self.job(name)
        return self.folder / f"{name}-{job['metadata']['uid'][:8]}"

    def logs_of_ranks(self, name: str) -> str:
        """What the ranks of all rounds printed, from the log files on the volume."""
        files = sorted((self.work_dir(name) / "logs").glob("*/*.log"))
        return "\n".join(file.read_text() for file in files)

    def story(self, name: str) -> str:
        """All that helps to understand a failed test."""
        parts = []
        for arguments in (
            ("get", names.PLURAL, name, "-o", "yaml"),
            ("get", "pods,events", "-o", "wide"),
            ("logs", "-l", f"{names.Label.JOB_NAME}={name}", "--tail=60", "--prefix", "--all-containers"),
            ("logs", "-n", "dtj-system", "deployment/dtj-operator", "--tail=40"),
        ):
            scope = () if "-n" in arguments else ("-n", self.namespace)
            try:
                parts.append(self.kubectl(*arguments, *scope))
            except ClusterError as error:
                parts.append(str(error))
        return "\n".join(parts)


def query(prometheus: str, expression: str) -> list[Object]:
    """The vector that a Prometheus answers an instant query with."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: list[Object] = json.load(answer)["data"]["result"]
    return found


@pytest.fixture(scope="session")
def place(cluster: Cluster) -> Place:
    """The cluster, ready for jobs: real images from the Dockerfiles, the operator installed by helm."""
    programs = binaries.ensure("kubectl", "helm")
    versions = {name: images.ensure(name) for name in ("operator", "trainer")}
    for name in versions:
        images.load(name, cluster.nodes)
    made = Place(
        kubectl=Kubectl(programs["kubectl"], cluster.kubeconfig),
        helm=programs["helm"],
        operator=Image(images.reference("operator"), versions["operator"]),
        trainer=Image(images.reference("trainer"), versions["trainer"]),
        claim=CLAIM,
        read=lambda path: path,
        where=lambda path: path,
        farewell="",
    )
    chart.install(made)
    return made


@contextlib.contextmanager
def a_namespace(cluster: Cluster, place: Place, title: str) -> Iterator[Jobs]:
    """A namespace with a claim; it goes afterwards, while the next test runs in another one."""
    namespace = f"{title[:40].strip('-')}-{secrets.token_hex(2)}"
    folder = cluster.claim(namespace, place.claim)
    try:
        yield Jobs(place, cluster, namespace, folder)
    finally:
        place.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def jobs(cluster: Cluster, place: Place, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """A namespace of the test's own with a claim."""
    title = request.node.name.replace("_", "-").removeprefix("test-").split("[")[0]
    with a_namespace(cluster, place, title) as made:
        yield made
