"""The worker pod: the user's template, kept, with the launcher around its command."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from plan_jobs import UID, a_job, a_template
from worker_pods import trainer_of, with_container, worker

from dtj_api.names import Label
from dtj_operator.observe.view import JobView
from dtj_operator.plan import DryRunWorker
from dtj_operator.render import Site, manifest


def test_identity() -> None:
    pod = worker(a_job().replicas(3).view())
    assert pod["metadata"] == {
        "name": "ner-worker-0002",
        "namespace": "ml",
        "labels": {
            Label.MANAGED_BY: "dtj-operator",
            Label.JOB_NAME: "ner",
            Label.JOB_UID: UID,
            Label.COMPONENT: "worker",
            Label.INDEX: "2",
            Label.INCARNATION: "3",
        },
        "ownerReferences": [
            {
                "apiVersion": "dtj.dev/v1alpha1",
                "kind": "DistributedTrainingJob",
                "name": "ner",
                "uid": UID,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
    assert pod["spec"]["restartPolicy"] == "Never"
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("ner-worker-0002", "ner-workers")


def test_the_templates_labels_stay_and_cannot_spoof_ours() -> None:
    template = a_template()
    labels = {"team": "nlp", str(Label.JOB_UID): "another"}
    template["metadata"] = {
        "labels": labels,
        "annotations": {"a": "b"},
        "namespace": "kube-system",
        "name": "x",
        "ownerReferences": [{"uid": "y"}],
        "finalizers": ["f"],
    }
    data = worker(a_job().template(template).view())["metadata"]
    assert data["labels"]["team"] == "nlp"
    assert data["labels"][Label.JOB_UID] == UID
    assert data["annotations"] == {"a": "b"}
    assert (data["name"], data["namespace"]) == ("ner-worker-0002", "ml")
    assert [each["uid"] for each in data["ownerReferences"]] == [UID]
    assert "finalizers" not in data


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"command": ["python", "train.py"]}, ["python", "train.py"]),
        ({"command": ["python", "-m", "pkg"], "args": ["--lr", "1"]}, ["python", "-m", "pkg", "--lr", "1"]),
        ({"command": ["sh", "-c", "exec ./run"], "args": []}, ["sh", "-c", "exec ./run"]),
    ],
)
def test_the_command_runs_under_the_launcher(fields: dict[str, Any], command: list[str]) -> None:
    container = trainer_of(worker(with_container(**fields).view()))
    assert container["command"] == ["python", "-m", "dtj_trainer.launch", "--", *command]
    assert "args" not in container


def test_volumes_of_the_launcher() -> None:
    volume = {"template": {"spec": {"accessModes": ["ReadWriteMany"]}}}
    pod = worker(a_job().spec(checkpoint={"volume": volume}).view())
    assert pod["spec"]["volumes"] == [
        {"name": "dtj-key", "secret": {"secretName": "ner-key"}},
        {"name": "dtj-volume", "persistentVolumeClaim": {"claimName": "ner-checkpoint"}},
        {"name": "dtj-shm", "emptyDir": {"medium": "Memory"}},
    ]
    assert trainer_of(pod)["volumeMounts"] == [
        {"name": "dtj-key", "mountPath": "/dtj/key", "readOnly": True},
        {"name": "dtj-volume", "mountPath": "/dtj/volume"},
        {"name": "dtj-shm", "mountPath": "/dev/shm"},
    ]


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ("8Gi", "16Gi", "8Gi"),
        (None, "16Gi", str(8 * 2**30)),
        (None, "1500M", "750000000"),
        (None, 2**30, str(2**29)),
        (None, "129e6", "64500000"),
        (None, "a lot", None),
        (None, None, None),
    ],
)
def test_shared_memory(size: str | None, limit: object, expected: str | None) -> None:
    job = with_container(resources={"limits": {"memory": limit}} if limit else {})
    if size is not None:
        job.spec(network={"sharedMemory": size})
    shm = next(each for each in worker(job.view())["spec"]["volumes"] if each["name"] == "dtj-shm")
    assert shm["emptyDir"].get("sizeLimit") == expected


def test_the_users_own_shared_memory_stays() -> None:
    template = a_template(volumes=[{"name": "mine", "emptyDir": {"medium": "Memory"}}])
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "mine", "mountPath": "/dev/shm/"}]
    pod = worker(a_job().template(template).view())
    assert [each["name"] for each in pod["spec"]["volumes"]] == ["mine", "dtj-key"]


@pytest.mark.parametrize(
    ("image", "own"),
    [
        ("dtj-trainer", True),
        ("registry:5000/team/dtj-trainer:1.2", True),
        ("ghcr.io/x/dtj-trainer@sha256:abc", True),
        ("pytorch/pytorch:2.15", False),
        ("my-dtj-trainer:1", False),
        ("dtj-trainer/other", False),
    ],
)
def test_our_own_image_is_held_to_the_restricted_profile(image: str, own: bool) -> None:
    pod = worker(with_container(image=image).view())
    assert ("securityContext" in pod["spec"]) is own
    assert ("securityContext" in trainer_of(pod)) is own
    if own:
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert trainer_of(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_templates_own_security_context_wins() -> None:
    template = a_template(securityContext={"runAsUser": 0, "runAsNonRoot": False}, automountServiceAccountToken=True)
    template["spec"]["containers"][0].update(
        image="dtj-trainer:1", securityContext={"capabilities": {"add": ["IPC_LOCK"]}}
    )
    pod = worker(a_job().template(template).view())
    assert pod["spec"]["securityContext"]["runAsUser"] == 0
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is False
    assert trainer_of(pod)["securityContext"]["capabilities"] == {"add": ["IPC_LOCK"]}
    assert pod["spec"]["automountServiceAccountToken"] is True


def test_no_service_account_token_unless_asked_for() -> None:
    assert worker(a_job().view())["spec"]["automountServiceAccountToken"] is False


def test_probe_and_ports() -> None:
    container = trainer_of(worker(a_job().view()))
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 9400}
    assert [each["containerPort"] for each in container["ports"]] == [9400, 9401]
    own = with_container(readinessProbe={"exec": {"command": ["true"]}}, ports=[{"containerPort": 9400}])
    container = trainer_of(worker(own.view()))
    assert container["readinessProbe"] == {"exec": {"command": ["true"]}}
    assert [each["containerPort"] for each in container["ports"]] == [9400, 9401]


def test_everything_else_of_the_user_is_kept() -> None:
    template = a_template(
        initContainers=[
            {"name": "fetch", "image": "busybox", "command": ["wget", "x"]},
            {"name": "proxy", "image": "proxy", "restartPolicy": "Always"},
        ],
        nodeSelector={"disk": "fast"},
        volumes=[{"name": "data", "emptyDir": {}}],
        imagePullSecrets=[{"name": "reg"}],
    )
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    template["spec"]["containers"][0]["env"] = [token, proxy]
    template["spec"]["containers"][0]["workingDir"] = "/src"
    template["spec"]["containers"].append({"name": "sidecar", "image": "logs", "command": ["tail"]})
    pod = worker(a_job().template(template).view())["spec"]
    for key in ("initContainers", "nodeSelector", "imagePullSecrets"):
        assert pod[key] == template["spec"][key]
    assert pod["volumes"][0] == {"name": "data", "emptyDir": {}}
    assert pod["containers"][0]["env"][:2] == [token, proxy]
    assert pod["containers"][0]["workingDir"] == "/src"
    assert pod["containers"][1] == {"name": "sidecar", "image": "logs", "command": ["tail"]}


def test_the_view_is_not_touched_and_the_same_view_gives_the_same_manifest() -> None:
    view = a_job().spec(checkpoint={"volume": {"claimName": "data"}}).view()
    assert view.spec is not None
    before = copy.deepcopy(view.spec.workers.template)
    first = worker(view)
    trainer_of(first)["env"].append("spoilt")
    first["spec"]["volumes"].clear()
    assert view.spec.workers.template == before
    again = json.dumps(worker(view), sort_keys=True)
    assert again == json.dumps(worker(JobView.from_json(view.to_json())), sort_keys=True)
    assert "spoilt" not in again


def test_the_dry_run_is_a_worker_under_a_name_that_is_free() -> None:
    pod = manifest(a_job().view(), DryRunWorker("hash"), Site())
    assert pod["metadata"]["name"] == "ner-worker-9999"
    assert pod["spec"]["containers"] != []
