"""Commands, pods and figures as people have them: torchrun in the command, a root that is read-only, a loss of NaN.

All jobs begin at once, in one namespace: they mostly wait.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from e2e_jobs import Jobs, Object, a_namespace

from dtj_api import names
from dtj_cluster import Cluster
from dtj_demo.place import Place

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PATIENCE = 600
NOT_A_NUMBER = """
import math, time
import torch.distributed as dist
import dtj
dist.init_process_group("gloo")
for step in range(1, 100_001):
    loss, tokens = {20: (math.nan, math.nan), 25: (math.inf, math.inf)}.get(step, (1 / step, 100.0))
    time.sleep(0.1)
    dtj.report(step=step, total_steps=100_000, loss=loss, tokens=tokens, samples=8, grad_norm=loss)
"""
LOOK = """
import json, urllib.request
get = lambda path: urllib.request.urlopen(f"http://127.0.0.1:9400{path}", timeout=5).read().decode()
def refuse(word): raise SystemExit(f"{word} is no JSON")
json.loads(get("/progress"), parse_constant=refuse)
print(next(line for line in get("/metrics").splitlines() if line.startswith("dtj_train_tokens_total{")).split()[-1])
"""


def trainer_of(spec: Object) -> Object:
    found: Object = spec["workers"]["template"]["spec"]["containers"][0]
    return found


def counted(job: Object) -> int:
    return int(job["status"].get("restarts", {}).get("counted", 0))


def torchrun(spec: Object) -> None:
    nested = ["torchrun", "--standalone", "--nproc_per_node=1"]
    trainer_of(spec)["command"] = [*nested, "/code/own_script.py", "--steps", "200"]


def accelerate(spec: Object) -> None:
    spec["failurePolicy"] = {"maxRestarts": 0}
    trainer_of(spec)["command"] = ["sh", "-c", "exec accelerate launch --num_processes 1 /code/own_script.py"]


def locked(spec: Object) -> None:
    pod = spec["workers"]["template"]["spec"]
    user = 1_000_680_000
    pod["securityContext"] = {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": 0, "fsGroup": user}
    dropped = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    trainer_of(spec)["securityContext"] = {"readOnlyRootFilesystem": True, **dropped}
    trainer_of(spec)["command"][-1] = "200"
    # Without a volume the script writes where it stands.
    trainer_of(spec)["workingDir"] = "/tmp"
    del spec["checkpoint"]


def no_number(spec: Object) -> None:
    spec["workers"]["replicas"] = 1
    trainer_of(spec)["command"] = ["python", "-u", "-c", NOT_A_NUMBER]


@pytest.fixture(scope="module")
def people(cluster: Cluster, place: Place) -> Iterator[Jobs]:
    """A namespace in which all of them have begun, each named as what is done to the example."""
    with a_namespace(cluster, place, "as-people-have-them") as jobs:
        for change in (torchrun, accelerate, locked, no_number):
            jobs.apply("own-script.yaml", change, named(change))
        yield jobs


def named(change: Callable[[Object], None]) -> str:
    return change.__name__.replace("_", "-")


def test_torchrun_in_the_command_makes_one_world_of_all_pods(people: Jobs) -> None:
    name = named(torchrun)
    job = people.wait(name, "condition=Succeeded", PATIENCE)
    pods = [pod["metadata"]["name"] for pod in people.pods(name)]
    said = [people.kubectl("logs", pod, "-n", people.namespace, "-c", names.TRAINER_CONTAINER) for pod in pods]
    assert all("dtj starts the ranks: instead of `torchrun --standalone" in text for text in said)
    assert sorted(text.count("done at step 200") for text in said) == [0, 1], "a world has one rank 0, which says this"
    assert counted(job) == 0


def test_what_starts_ranks_and_cannot_be_taken_apart_is_refused_with_the_line_to_write(people: Jobs) -> None:
    status = people.wait(named(accelerate), "condition=Failed", PATIENCE)["status"]
    assert "write command: [python, /code/own_script.py]" in json.dumps(status["conditions"])


def test_a_root_that_is_read_only_and_a_user_without_a_name_are_enough(people: Jobs) -> None:
    assert counted(people.wait(named(locked), "condition=Succeeded", PATIENCE)) == 0


def test_a_loss_and_a_count_that_are_no_numbers_leave_no_trace(people: Jobs) -> None:
    name = named(no_number)
    progress = people.wait_for_step(name, 60, PATIENCE)["status"]["progress"]
    assert progress["loss"] > 0
    assert progress["tokensPerSecond"] > 0
    pod = people.pods(name)[0]["metadata"]["name"]
    look = ("exec", "-n", people.namespace, pod, "-c", names.TRAINER_CONTAINER, "--", "python", "-c", LOOK)
    first = float(people.kubectl(*look))
    assert first >= 5800.0
    people.wait_for_step(name, progress["step"] + 40, PATIENCE)
    assert float(people.kubectl(*look)) > first
