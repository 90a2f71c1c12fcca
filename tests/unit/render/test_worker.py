"""The worker pod: the user's template, kept, with the launcher around its command."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from plan_jobs import NAME, UID, a_job, a_template

from dtj_api import names
from dtj_api.names import Env, Label
from dtj_operator.observe.view import JobView
from dtj_operator.plan import CreateWorker, DryRunWorker
from dtj_operator.render import Manifest, Site, manifest


def worker(view: JobView, index: int = 2, avoid: tuple[str, ...] = ()) -> Manifest:
    return manifest(view, CreateWorker(names.worker_name(NAME, index), index, 3, avoid), Site())


def trainer_of(pod: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in pod["spec"]["containers"] if each["name"] == "trainer")
    return found


def env_of(pod: Manifest) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in trainer_of(pod)["env"]}


def with_container(**fields: Any) -> Any:
    template = a_template()
    template["spec"]["containers"][0].update(fields)
    return a_job().template(template)


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


def test_the_built_in_trainer_gets_its_configuration() -> None:
    pod = worker(a_job().built_in().view())
    assert trainer_of(pod)["command"] == [
        "python",
        "-m",
        "dtj_trainer.launch",
        "--",
        "python",
        "-m",
        "dtj_trainer.train",
    ]
    config = json.loads(env_of(pod)[Env.TRAINER_CONFIG])
    assert config["data"]["split"]["shuffleSplit"] == [0.8, 0.1, 0.1]
    assert config["batchSize"] == 32


@pytest.mark.parametrize(
    ("hang", "value"),
    [({}, "auto"), ({"stepTimeout": "auto"}, "auto"), ({"stepTimeout": "5m"}, "300"), ({"action": "None"}, "none")],
)
def test_how_long_a_step_may_take(hang: dict[str, str], value: str) -> None:
    assert env_of(worker(a_job().spec(failurePolicy={"hang": hang}).view()))[Env.STEP_TIMEOUT] == value


def test_the_environment_of_the_launcher() -> None:
    every = {"steps": 50, "auto": True}
    checkpoint = {"volume": {"claimName": "data"}, "every": every, "keep": 2, "keepEvery": 1000}
    checkpoint |= {"onFailure": "Fail", "memoryEvery": 10}
    rendezvous = {"joinTimeout": "5m", "heartbeat": "1500ms", "heartbeatMisses": 4, "lastCall": "0s"}
    failures = {"backoff": {"initial": "2s", "max": "1m"}}
    job = a_job().spec(checkpoint=checkpoint, rendezvous=rendezvous, failurePolicy=failures)
    job.template(a_template(terminationGracePeriodSeconds=300))
    assert env_of(worker(job.view())) == {
        Env.POD_NAME: {"fieldRef": {"fieldPath": "metadata.name"}},
        Env.POD_UID: {"fieldRef": {"fieldPath": "metadata.uid"}},
        Env.POD_IP: {"fieldRef": {"fieldPath": "status.podIP"}},
        Env.JOB_NAME: "ner",
        Env.JOB_UID: UID,
        Env.INDEX: "2",
        Env.PROCESSES: "1",
        Env.WORK_DIR: f"/dtj/volume/ner-{UID[:8]}",
        Env.KEY_FILE: "/dtj/key/key",
        Env.METRICS_PORT: "9400",
        Env.JOIN_TIMEOUT: "300",
        Env.HEARTBEAT: "1.5",
        Env.HEARTBEAT_MISSES: "4",
        Env.LAST_CALL: "0",
        Env.STEP_TIMEOUT: "auto",
        Env.BACKOFF_INITIAL: "2",
        Env.BACKOFF_MAX: "60",
        Env.GRACE_SECONDS: "300",
        Env.SAVE_EVERY_STEPS: "50",
        Env.SAVE_EVERY_AUTO: "1",
        Env.SAVE_KEEP: "2",
        Env.SAVE_KEEP_EVERY: "1000",
        Env.SAVE_ON_FAILURE: "Fail",
        Env.MEMORY_EVERY_STEPS: "10",
        Env.MEMORY_DIR: "/dev/shm/dtj",
    }


def test_without_a_volume_there_is_no_work_dir() -> None:
    pod = worker(a_job().view())
    assert env_of(pod)[Env.WORK_DIR] == ""
    assert Env.SAVE_KEEP not in env_of(pod)
    assert [each["name"] for each in pod["spec"]["volumes"]] == ["dtj-key", "dtj-shm"]


@pytest.mark.parametrize(
    ("processes", "limits", "expected"),
    [
        ("auto", {}, "1"),
        ("auto", {"nvidia.com/gpu": 8}, "8"),
        ("auto", {"nvidia.com/gpu": "4", "rdma/hca": 1, "cpu": "64"}, "4"),
        ("auto", {"nvidia.com/mig-1g.10gb": 2}, "2"),
        ("auto", {"amd.com/gpu": 3}, "3"),
        ("auto", {"nvidia.com/gpu": 0}, "1"),
        (2, {"nvidia.com/gpu": 8}, "2"),
    ],
)
def test_processes(processes: object, limits: dict[str, Any], expected: str) -> None:
    job = with_container(resources={"limits": limits})
    view = job.view()
    workers = view.spec.workers.model_copy(update={"processes_per_worker": processes})
    pod = worker(job.fields(spec=view.spec.model_copy(update={"workers": workers})).view())
    assert env_of(pod)[Env.PROCESSES] == expected


def test_what_nccl_is_told_where_the_user_is_silent() -> None:
    nccl = {"socketInterface": "eth0", "debug": "INFO", "env": {"NCCL_IB_HCA": "mlx5", "NCCL_ALGO": "Ring"}}
    job = with_container(env=[{"name": "NCCL_ALGO", "value": "Tree"}]).spec(network={"nccl": nccl})
    env = env_of(worker(job.view()))
    assert {name: value for name, value in env.items() if "NCCL" in name or "GLOO" in name} == {
        "NCCL_ALGO": "Tree",
        "NCCL_SOCKET_IFNAME": "eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
        "NCCL_DEBUG": "INFO",
        "NCCL_IB_HCA": "mlx5",
    }
    excluded = a_job().spec(network={"nccl": {"socketInterface": "^docker,lo"}})
    assert "GLOO_SOCKET_IFNAME" not in env_of(worker(excluded.view()))


def test_values_are_not_expanded_by_kubernetes() -> None:
    job = a_job().spec(network={"nccl": {"env": {"NCCL_TOPO_FILE": "$(HOME)/x"}}})
    assert env_of(worker(job.view()))["NCCL_TOPO_FILE"] == "$$(HOME)/x"


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


@pytest.mark.parametrize(("given", "seconds"), [(None, 120), (30, 120), (3600, 3600)])
def test_grace(given: int | None, seconds: int) -> None:
    template = a_template() if given is None else a_template(terminationGracePeriodSeconds=given)
    pod = worker(a_job().template(template).view())
    assert pod["spec"]["terminationGracePeriodSeconds"] == seconds
    assert env_of(pod)[Env.GRACE_SECONDS] == str(seconds)


def test_nodes_that_are_away_are_given_up_soon() -> None:
    own = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    pod = worker(a_job().template(a_template(tolerations=[gpu, own])).view())
    short = {
        "key": "node.kubernetes.io/not-ready",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 30,
    }
    assert pod["spec"]["tolerations"] == [gpu, own, short]
    assert len(worker(a_job().view())["spec"]["tolerations"]) == 2
    everything = [{"operator": "Exists"}]
    assert worker(a_job().template(a_template(tolerations=everything)).view())["spec"]["tolerations"] == everything


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


def test_priority_class_where_the_template_names_none() -> None:
    job = a_job().spec(schedule={"priorityClassName": "high"})
    assert worker(job.view())["spec"]["priorityClassName"] == "high"
    own = job.template(a_template(priorityClassName="low"))
    assert worker(own.view())["spec"]["priorityClassName"] == "low"


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


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"podAntiAffinity": {"x": 1}},
        {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}},
    ],
)
def test_nodes_are_avoided_by_a_preference_beside_what_the_template_says(given: dict[str, Any]) -> None:
    job = a_job().template(a_template(affinity=given))
    affinity = worker(job.view(), avoid=("node-a", "node-b"))["spec"]["affinity"]
    wishes = affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in ("node-a", "node-b")]
    assert wishes[-1] == {"weight": 100, "preference": {"matchFields": fields}}
    assert wishes[:-1] == given.get("nodeAffinity", {}).get("preferredDuringSchedulingIgnoredDuringExecution", [])
    for key, value in given.items():
        assert affinity[key].items() >= {k: v for k, v in value.items() if not k.startswith("preferred")}.items()


def test_without_nodes_to_avoid_the_affinity_is_the_templates() -> None:
    assert "affinity" not in worker(a_job().view())["spec"]


def test_a_pod_gives_up_a_node_when_the_operator_does() -> None:
    pod = worker(a_job().spec(failurePolicy={"nodeLoss": {"tolerate": "90s"}}).view())
    assert {each["tolerationSeconds"] for each in pod["spec"]["tolerations"]} == {90}
