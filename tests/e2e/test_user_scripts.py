"""A user's own script is the main use: each example runs to Succeeded in real pods; those with dtj survive a kill."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_demo import chart

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

SUCCEEDED = "condition=Succeeded"
OPERATOR = "app.kubernetes.io/name=dtj-operator"
RESULTS = {"own-script.yaml": "model.pt", "hf-trainer.yaml": "model/model.safetensors"}


def of_steps(steps: int) -> Callable[[Object], None]:
    """Fewer steps than the example makes: enough for what happens to it."""

    def change(spec: Object) -> None:
        spec["workers"]["template"]["spec"]["containers"][0]["command"][-1] = str(steps)

    return change


def uids(jobs: Jobs, name: str) -> list[str]:
    return [pod["metadata"]["uid"] for pod in jobs.pods(name)]


def resumed_at(jobs: Jobs, name: str) -> list[int]:
    """The steps that the ranks of later rounds went on from."""
    return [int(step) for step in re.findall(r"goes on from step[ -]0*(\d+)", jobs.logs_of_ranks(name))]


@pytest.mark.parametrize(("example", "steps", "every"), [("own-script.yaml", 1200, 100), ("hf-trainer.yaml", 900, 20)])
def test_a_killed_rank_comes_back_in_the_same_pods(jobs: Jobs, example: str, steps: int, every: int) -> None:
    name = jobs.apply(example, of_steps(steps))
    seen = jobs.wait_for_step(name, 3 * every, 300)["status"]["progress"]["step"]
    before = uids(jobs, name)

    if example == "own-script.yaml":
        # Nobody is there to see the rank die: its pods go on by themselves, and it is counted all the same.
        gone = ("--grace-period=0", "--force", "--wait=false")
        jobs.kubectl("delete", "pods", "-n", chart.NAMESPACE, "-l", OPERATOR, *gone)
    jobs.kill_rank(jobs.pods(name)[1]["metadata"]["name"])
    job = jobs.wait(name, SUCCEEDED, 400)

    assert uids(jobs, name) == before
    status = job["status"]
    assert status["phase"] == "Succeeded"
    assert status["progress"]["step"] == steps
    assert status["restarts"]["counted"] == 1
    assert status["restarts"]["byCause"] == {"ProcessSignal": 1}
    assert status["incarnation"] == 1
    resumed = resumed_at(jobs, name)
    assert len(resumed) == len(before)
    assert min(resumed) >= seen - 2 * every, "it went on from the last checkpoint"
    assert (jobs.work_dir(name) / RESULTS[example]).exists()


def with_company(spec: Object) -> None:
    """What other tools put into pods: they come before the trainer, stay beside it, and never end by themselves."""
    pod = spec["workers"]["template"]["spec"]
    (trainer,) = pod["containers"]
    trainer["env"] = [
        *trainer.get("env", []),
        {"name": "HF_TOKEN", "value": "hf_secret"},
        {"name": "HTTPS_PROXY", "value": "http://proxy.invalid:3128"},
    ]
    image = {"image": trainer["image"], "imagePullPolicy": "IfNotPresent"}
    stays = image | {"command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]}
    shared = [{"name": "shared", "mountPath": "/shared"}]
    pod["volumes"] = [*pod.get("volumes", []), {"name": "shared", "emptyDir": {}}]
    pod["initContainers"] = [
        image | {"name": "fetch", "command": ["sh", "-c", "echo fetched > /shared/data"], "volumeMounts": shared},
        stays | {"name": "proxy", "restartPolicy": "Always"},
    ]
    pod["containers"] = [stays | {"name": "logs"}, trainer]
    trainer["volumeMounts"] = [*trainer.get("volumeMounts", []), *shared]


def test_a_script_that_knows_nothing_of_dtj_runs_as_it_is_in_the_company_of_other_containers(jobs: Jobs) -> None:
    name = jobs.apply("plain-torchrun-script.yaml", with_company)

    jobs.wait(name, "jsonpath={.status.phase}=Running", 300)
    first = jobs.pods(name)[0]["metadata"]["name"]
    inside = ("exec", "-n", jobs.namespace, first, "-c", names.TRAINER_CONTAINER, "--")
    assert jobs.kubectl(*inside, "cat", "/shared/data") == "fetched\n"
    seen = jobs.kubectl(*inside, "sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'").splitlines()
    assert {"HF_TOKEN=hf_secret", "HTTPS_PROXY=http://proxy.invalid:3128"} <= set(seen)
    job = jobs.wait(name, SUCCEEDED, 300)

    assert job["status"]["progress"]["message"] == "not reported"
    assert "done at step 3000" in jobs.logs_of_ranks(name)
    assert (jobs.work_dir(name) / "checkpoint.pt").exists()
    jobs.wait_for_no_pods(name, 120)


def test_a_suspended_job_keeps_its_checkpoint_and_goes_on_from_it(jobs: Jobs) -> None:
    name = jobs.apply("own-script.yaml", of_steps(1_000_000))
    jobs.wait_for_step(name, 150, 300)

    jobs.patch(name, {"suspend": True})
    jobs.wait(name, "jsonpath={.status.phase}=Suspended", 300)
    jobs.wait_for_no_pods(name, 300)
    saved = jobs.job(name)["status"]["checkpoint"]["lastStep"]
    assert saved >= 150, "it was asked to save before its pods went"
    lie = [int(path.name[5:].partition(".")[0]) for path in (jobs.work_dir(name) / "checkpoints").glob("step-*")]
    assert saved == max(lie), "the status tells of the last one"

    jobs.patch(name, {"suspend": False})
    jobs.wait(name, "jsonpath={.status.phase}=Running", 300)

    deadline = time.monotonic() + 180
    while not (resumed := resumed_at(jobs, name)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert resumed, jobs.story(name)
    assert min(resumed) >= saved


def test_a_deleted_job_takes_its_children_along(jobs: Jobs) -> None:
    name = jobs.apply("own-script.yaml")
    jobs.wait_for_step(name, 1, 300)

    jobs.kubectl("delete", "dtj", name, "-n", jobs.namespace, "--timeout=180s", timeout=240)

    jobs.wait_for_no_pods(name, 200)
    left = jobs.kubectl("get", "service,secret,networkpolicy", "-n", jobs.namespace, "-o", "name").split()
    assert left == []
