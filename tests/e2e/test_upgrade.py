"""An upgrade, the way back and the upgrade once more, with both versions' images, charts and CRDs, over one job on real
pods: no pod is remade, no failure is lost or counted twice, and the job ends.

The same on a fake API server, for every change: tests/unit/app/test_upgrade.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import earlier
import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_api.crd import CRD_FILE, REPOSITORY
from dtj_cluster import Cluster, images
from dtj_demo import chart
from dtj_demo.place import Image, Place

# The trainer image of the first version takes minutes to build.
pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(3600)]

NAME = "upgraded"
WORKER = names.worker_name(NAME, 0)
GATE, END = "/gate", "end"
SCRIPT = f"""
import pathlib, time
import torch
import torch.distributed as dist
import dtj

dist.init_process_group("gloo")
checkpoint = dtj.latest_checkpoint()
step = int((checkpoint / "step").read_text()) if checkpoint else 0
ends = torch.zeros(1)
while not ends:
    step += 1
    time.sleep(0.05)
    ends.fill_(pathlib.Path("{GATE}/{END}").exists())
    dist.all_reduce(ends)
    dtj.report(step=step)
    if dtj.should_save():
        with dtj.checkpoint_dir(step) as folder:
            if dist.get_rank() == 0:
                (folder / "step").write_text(str(step))
dtj.done()
"""
"""Trains for as long as the test wants, with what the library of both versions has."""


@dataclass(frozen=True)
class Version:
    """An operator, and the chart that installs it."""

    place: Place
    chart: Path

    def install(self, *more: str) -> None:
        """Put this operator in the place of the one that runs, as a user would."""
        chart.install(self.place, *more, chart=self.chart)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the first version."""
    return earlier.builds(tmp_path_factory.mktemp("first"))


def built(name: str, code: Path, cluster: Cluster) -> Image:
    """An image of the first version on the nodes, with the dependencies of today; made unless the cache has it."""
    tag, reference = images.ensure_of(code, "first", name), f"localhost/dtj-{name}:first"
    images.put(tag, reference, cluster.nodes)
    return Image(reference, tag)


@pytest.fixture(scope="module")
def first(cluster: Cluster, place: Place, code: Path) -> Version:
    """The first version of the operator."""
    return Version(replace(place, operator=built("operator", code, cluster)), code / "charts/dtj-operator")


@pytest.fixture
def today(place: Place) -> Iterator[Version]:
    """This version, which the other tests find again."""
    made = Version(place, chart.CHART)
    yield made
    made.install("--force-conflicts")


class Story:
    """One job of two workers, and what happens to it under operators that come and go."""

    def __init__(self, jobs: Jobs, trainer: Image) -> None:
        self._jobs, self.died = jobs, 0
        (jobs.folder / "script.py").write_text(SCRIPT)
        container = {
            "name": names.TRAINER_CONTAINER,
            "image": trainer.reference,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", f"{GATE}/script.py"],
            "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
            "volumeMounts": [{"name": "gate", "mountPath": GATE}],
        }
        volume = {"name": "gate", "persistentVolumeClaim": {"claimName": jobs.place.claim}}
        pod = {"containers": [container], "volumes": [volume]}
        jobs.kubectl.apply(
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "metadata": {"name": NAME, "namespace": jobs.namespace},
                "spec": {
                    "workers": {"replicas": 2, "template": {"spec": pod}},
                    "checkpoint": {"volume": {"claimName": jobs.place.claim}, "every": {"steps": 20}},
                },
            }
        )
        jobs.wait_for_step(NAME, 40, 240)

    @property
    def status(self) -> Object:
        found: Object = self._jobs.job(NAME)["status"]
        return found

    @property
    def recoveries(self) -> int:
        """How often it has trained again after a failure."""
        return len(self.status.get("recoveries", []))

    def made(self) -> dict[str, str]:
        """The uids of all that was made for the job."""
        told = self._jobs.kubectl(
            "get", "pods,services,secrets,networkpolicies", "-n", self._jobs.namespace,
            "-l", f"{names.Label.JOB_NAME}={NAME}", "-o", "json",
        )  # fmt: skip
        return {
            f"{each['kind']} {each['metadata']['name']}": each["metadata"]["uid"] for each in json.loads(told)["items"]
        }

    def loses_a_rank(self, under: str) -> None:
        """A rank is killed; it is counted once, and the job trains again."""
        before = self.status.get("progress", {}).get("step") or 0
        self._jobs.kill_rank(WORKER)
        self.died += 1
        self._jobs.wait(NAME, f"jsonpath={{.status.restarts.counted}}={self.died}", 120)
        # A recovery is told once the job has made a step again.
        self._jobs.wait_until(f"{under}: it trains again", lambda: self.recoveries == self.died, 120)
        self._jobs.wait(NAME, f"jsonpath={{.status.phase}}={names.Phase.RUNNING}", 240)
        self._jobs.wait_for_step(NAME, before, 240)
        status = self.status
        print(
            f"{under}: {status['restarts']['counted']} counted of {self.died}, incarnation {status['incarnation']}, "
            f"step {before}, trains again after {status['recoveries'][-1]['seconds']} s"
        )

    def ends(self) -> None:
        (self._jobs.folder / END).touch()
        self._jobs.wait(NAME, f"condition={names.Condition.SUCCEEDED}", 120)


def apply_the_crd(jobs: Jobs) -> None:
    """As a user does who has it before the operator: over the chart's, which helm takes back by --force-conflicts."""
    jobs.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / CRD_FILE))


@pytest.mark.parametrize("crd_comes_first", [True, False], ids=["the CRD before the operator", "the CRD after it"])
def test_both_versions_go_on_with_the_same_pods_and_counts(
    crd_comes_first: bool, cluster: Cluster, code: Path, jobs: Jobs, first: Version, today: Version
) -> None:
    first.install("--force-conflicts")
    # An operator of the first version cannot start launchers of today: it is upgraded before the images are.
    story = Story(jobs, built("trainer", code, cluster))
    story.loses_a_rank("the first operator, the first CRD")
    made, incarnation = story.made(), story.status["incarnation"]
    assert len([name for name in made if name.startswith("Pod ")]) == 3

    if crd_comes_first:
        apply_the_crd(jobs)
        story.loses_a_rank("the first operator, the CRD of today")
    else:
        today.install("--set", "crds.install=false")
        story.loses_a_rank("the operator of today, the first CRD")
    today.install("--force-conflicts")
    story.loses_a_rank("both of today")
    jobs.wait(NAME, f"jsonpath={{.status.operator}}={chart.NAMESPACE}/{chart.DEPLOYMENT}", 240)

    first.install()
    story.loses_a_rank("both of the first version again")
    today.install()
    story.loses_a_rank("both of today again")

    assert story.made() == made, "nothing was remade"
    assert [status["restartCount"] for pod in jobs.pods(NAME) for status in pod["status"]["containerStatuses"]] == [
        0,
        0,
    ]
    assert story.status["incarnation"] == incarnation
    story.ends()
    restarts = story.status["restarts"]
    assert (restarts["counted"], restarts.get("excused", 0)) == (story.died, 0)
    assert restarts["byCause"] == {names.Cause.PROCESS_SIGNAL: story.died}
