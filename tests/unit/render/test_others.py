"""Store, service, policy, key and claim."""

from __future__ import annotations

import json
from typing import Any

import pytest
from plan_jobs import UID, a_job, a_template

from dtj_api.names import Label
from dtj_api.scalars import quantity_bytes
from dtj_api.wire import STORE_PROTOCOL
from dtj_operator.observe.view import Installation
from dtj_operator.plan import CreateClaim, CreateKey, CreatePolicy, CreateService, CreateStore, CreateWorker
from dtj_operator.render import Manifest, Site, manifest

STORE_NEEDS = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}


def store(**pod) -> Manifest:
    template = a_template(**pod)
    return manifest(a_job().template(template).view(), CreateStore("ner-store", 4), Site())


def test_the_store_is_small_and_runs_where_the_launcher_comes_from() -> None:
    pod = store()
    container = pod["spec"]["containers"][0]
    assert pod["metadata"]["name"] == "ner-store"
    assert pod["metadata"]["labels"][Label.COMPONENT] == "store"
    assert pod["metadata"]["labels"][Label.INCARNATION] == "4"
    assert Label.INDEX not in pod["metadata"]["labels"]
    assert container["image"] == "train:1"
    assert container["command"] == ["python", "-m", "dtj_trainer.launch.store"]
    assert container["startupProbe"]["tcpSocket"] == {"port": 29400}
    assert "readinessProbe" not in container
    assert container["resources"] == STORE_NEEDS
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_for_a_foreign_image_it_runs_in_the_operators_and_nothing_is_brought() -> None:
    template = a_template()
    template["spec"]["containers"][0]["securityContext"] = {"runAsUser": 0, "privileged": True}
    site = Site(launcher_image="dtj-operator:1", launcher_pull_policy="Always")
    pod = manifest(a_job().template(template).view(), CreateStore("ner-store", 4), site)["spec"]
    container = pod["containers"][0]
    assert (container["image"], container["imagePullPolicy"]) == ("dtj-operator:1", "Always")
    assert container["command"] == ["python", "-m", "dtj_trainer.launch.store"]
    assert "initContainers" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


TORCHS = {"requests": {"cpu": "50m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
"""What the store of the first version takes: it imports torch."""


@pytest.mark.parametrize(
    ("protocol", "image", "wanted"),
    [
        (0, "x/dtj-trainer:0.1", TORCHS),
        (STORE_PROTOCOL, "x/dtj-trainer:0.2", STORE_NEEDS),
        # It comes from the operator's image, which is of this version.
        (0, "pytorch/pytorch:2.15.0", STORE_NEEDS),
    ],
)
def test_the_store_of_an_earlier_trainer_image_has_the_memory_that_it_takes(
    protocol: int, image: str, wanted: Manifest
) -> None:
    template = a_template()
    template["spec"]["containers"][0]["image"] = image
    job = a_job().template(template).running().says(0, store_protocol=protocol)
    pod = manifest(job.view(), CreateStore("ner-store", 4), Site(launcher_image="x/dtj-operator:0.2"))
    assert pod["spec"]["containers"][0]["resources"] == wanted


def test_the_store_holds_the_jobs_key_and_knows_the_workers_grace() -> None:
    pod = store(terminationGracePeriodSeconds=300)["spec"]
    env = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    assert env == {"DTJ_KEY_FILE": "/dtj/key/key", "DTJ_GRACE_SECONDS": "300"}
    assert pod["volumes"] == [{"name": "dtj-key", "secret": {"secretName": "ner-key"}}]
    assert pod["containers"][0]["volumeMounts"] == [{"name": "dtj-key", "mountPath": "/dtj/key", "readOnly": True}]


def test_the_store_prefers_a_node_that_has_a_worker() -> None:
    (preferred,) = store()["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"] == {
        "labelSelector": {"matchLabels": {str(Label.JOB_UID): UID, str(Label.COMPONENT): "worker"}},
        "topologyKey": "kubernetes.io/hostname",
    }


def test_the_store_may_run_wherever_the_workers_may() -> None:
    like = {
        "nodeSelector": {"pool": "train"},
        "imagePullSecrets": [{"name": "reg"}],
        "schedulerName": "other",
        "securityContext": {"runAsUser": 7},
    }
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists"}
    wanted: Manifest = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    pod = store(**like, tolerations=[gpu], affinity={"nodeAffinity": wanted, "podAffinity": {"x": 1}})["spec"]
    assert {key: pod[key] for key in like} == like
    assert pod["tolerations"][0] == gpu
    assert pod["affinity"]["nodeAffinity"] == wanted
    assert "x" not in pod["affinity"]["podAffinity"]


@pytest.mark.parametrize(("given", "grace"), [({}, 120), ({"terminationGracePeriodSeconds": 300}, 300)])
def test_the_store_stays_as_long_as_the_workers_that_leave_with_it(given: dict[str, int], grace: int) -> None:
    made = manifest(a_job().template(a_template(**given)).view(), CreateStore("ner-store", 1), Site())
    assert made["spec"]["terminationGracePeriodSeconds"] == grace


def test_the_store_takes_no_gpu_and_no_volume_of_the_workers() -> None:
    template = a_template(volumes=[{"name": "data", "emptyDir": {}}], hostNetwork=True)
    template["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": 8}}
    text = json.dumps(manifest(a_job().template(template).view(), CreateStore("ner-store", 1), Site()))
    assert "nvidia.com/gpu" not in text
    assert "emptyDir" not in text
    assert "hostNetwork" not in text


FOREIGN = Site(launcher_image="dtj-operator:1")
LIMITED: Manifest = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}


def pods_of(spec: dict[str, Any] | None = None, **trainer: Any) -> tuple[Manifest, Manifest]:
    """The specs of a worker and of the store, of a foreign image."""
    template = a_template()
    template["spec"]["containers"][0].update(trainer)
    view = a_job().spec(**(spec or {})).template(template).view()
    made = [manifest(view, each, FOREIGN)["spec"] for each in (CreateWorker("w", 0, 1), CreateStore("s", 1))]
    return made[0], made[1]


def test_under_a_quota_on_cpu_all_containers_of_ours_have_a_limit_as_the_users_have() -> None:
    for pod in pods_of(resources=LIMITED):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_where_the_trainer_has_no_limit_on_cpu_a_store_is_not_throttled() -> None:
    _, pod = pods_of(resources={"limits": {"memory": "1Gi"}})
    assert "cpu" not in pod["containers"][0]["resources"]["limits"]


def test_limits_of_memory_are_twice_the_requests_at_most() -> None:
    earlier = a_job().template(a_template()).running().says(0, store_protocol=0)
    of_earlier_images = manifest(earlier.view(), CreateStore("ner-store", 4), Site())["spec"]
    for pod in (*pods_of(), of_earlier_images):
        ours = [each for each in (*pod.get("initContainers", ()), *pod["containers"]) if each["name"] != "trainer"]
        for amounts in (each["resources"] for each in ours):
            limit, request = (quantity_bytes(amounts[key]["memory"]) for key in ("limits", "requests"))
            assert 64 * 2**20 <= request <= limit <= 2 * request


def test_the_spec_has_the_last_word_on_what_they_ask_for() -> None:
    spec = {
        "rendezvous": {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi", "cpu": "500m"}}},
        "launcher": {"resources": {"limits": {"example.com/x": 1}}},
    }
    worker, store_pod = pods_of(spec)
    made = store_pod["containers"][0]["resources"]
    assert made == {"requests": {"cpu": "20m", "memory": "1Gi"}, "limits": {"memory": "2Gi", "cpu": "500m"}}
    assert worker["initContainers"][0]["resources"]["limits"] == {"memory": "128Mi", "example.com/x": 1}


def test_the_store_has_the_workers_account_and_not_its_token() -> None:
    pod = store(serviceAccountName="research", automountServiceAccountToken=True, runtimeClassName="kata")["spec"]
    assert (pod["serviceAccountName"], pod["runtimeClassName"]) == ("research", "kata")
    assert pod["automountServiceAccountToken"] is False


def test_the_store_has_none_of_the_trainers_privileges() -> None:
    security = {
        "privileged": True,
        "capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsUser": 7,
    }
    template = a_template()
    template["spec"]["containers"][0]["securityContext"] = security
    pod = manifest(a_job().template(template).view(), CreateStore("s", 1), Site())["spec"]
    assert pod["containers"][0]["securityContext"] == {
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsUser": 7,
    }


def test_a_root_that_is_locked_gets_a_tmp_unless_there_is_one() -> None:
    locked = {"readOnlyRootFilesystem": True}
    worker, _ = pods_of(securityContext=locked)
    (mount,) = [each for each in worker["containers"][0]["volumeMounts"] if each["mountPath"] == "/tmp"]
    assert {"name": mount["name"], "emptyDir": {}} in worker["volumes"]
    worker, _ = pods_of(securityContext=locked, volumeMounts=[{"name": "own", "mountPath": "/tmp/"}])
    assert "dtj-tmp" not in json.dumps(worker)
    assert "dtj-tmp" not in json.dumps(pods_of()), "an image may keep things in its /tmp"


def test_the_service_names_workers_before_they_are_ready() -> None:
    made = manifest(a_job().view(), CreateService("ner-workers"), Site())
    assert made["spec"]["clusterIP"] == "None"
    assert made["spec"]["publishNotReadyAddresses"] is True
    assert made["spec"]["selector"] == {str(Label.JOB_UID): UID, str(Label.COMPONENT): "worker"}


def test_the_policy_lets_in_the_job_itself_and_the_operator() -> None:
    made = manifest(a_job().view(), CreatePolicy("ner-workers"), Site("dtj-system"))
    of_job = {"matchLabels": {str(Label.JOB_UID): UID}}
    operator = {"matchLabels": {"kubernetes.io/metadata.name": "dtj-system"}}
    assert made["spec"] == {
        "podSelector": of_job,
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": of_job}]},
            {
                "ports": [{"protocol": "TCP", "port": 9400}, {"protocol": "TCP", "port": 9401}],
                "from": [{"namespaceSelector": operator}],
            },
        ],
    }


def test_an_operator_outside_the_cluster_comes_from_anywhere_but_only_to_its_ports() -> None:
    rule = manifest(a_job().view(), CreatePolicy("ner-workers"), Site())["spec"]["ingress"][1]
    assert "from" not in rule
    assert [each["port"] for each in rule["ports"]] == [9400, 9401]


def test_the_spec_lets_others_in_to_the_metrics_alone() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    job = a_job().spec(metrics={"from": [peer]}).fields(operator=Installation(metrics_from=("monitoring",)))
    made = manifest(job.view(), CreatePolicy("ner-workers"), Site("dtj-system"))["spec"]["ingress"]
    assert made[2:] == [{"ports": [{"protocol": "TCP", "port": 9400}], "from": [peer]}]


def test_the_key_has_no_data_of_its_own() -> None:
    made = manifest(a_job().view(), CreateKey("ner-key"), Site())
    assert (made["kind"], made["metadata"]["name"]) == ("Secret", "ner-key")
    assert "immutable" not in made, "kubelets keep such a Secret while any pod uses its name, also when it is another"
    assert "data" not in made


@pytest.mark.parametrize(("retain", "owned"), [(True, False), (False, True)])
def test_the_claim_outlives_the_job_unless_told_otherwise(retain: bool, owned: bool) -> None:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    job = a_job().spec(checkpoint={"volume": {"template": {"spec": spec}, "retain": retain}})
    made = manifest(job.view(), CreateClaim("ner-checkpoint"), Site())
    assert made["metadata"]["name"] == "ner-checkpoint"
    assert made["spec"] == spec
    assert ("ownerReferences" in made["metadata"]) is owned


def test_all_others_are_owned() -> None:
    for action in (CreateStore("a", 1), CreateService("b"), CreatePolicy("c"), CreateKey("d")):
        (owner,) = manifest(a_job().view(), action, Site())["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (UID, True)


def test_a_spec_that_cannot_be_read_has_no_manifests() -> None:
    view = a_job().fields(spec=None, spec_error="workers: missing").view()
    with pytest.raises(ValueError, match="workers: missing"):
        manifest(view, CreateStore("ner-store", 1), Site())
