"""Store, service, policy, key and claim."""

from __future__ import annotations

import json

import pytest
from plan_jobs import UID, a_job, a_template

from dtj_api.names import Label
from dtj_operator.plan import CreateClaim, CreateKey, CreatePolicy, CreateService, CreateStore
from dtj_operator.render import Manifest, Site, manifest


def store(**pod) -> Manifest:
    template = a_template(**pod)
    return manifest(a_job().template(template).view(), CreateStore("ner-store", 4), Site())


def test_the_store_is_small_and_runs_on_the_trainers_image() -> None:
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
    assert container["resources"]["requests"]["cpu"] == "50m"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["automountServiceAccountToken"] is False


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


def test_the_store_takes_no_gpu_and_no_volume_of_the_workers() -> None:
    template = a_template(volumes=[{"name": "data", "emptyDir": {}}], hostNetwork=True)
    template["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": 8}}
    text = json.dumps(manifest(a_job().template(template).view(), CreateStore("ner-store", 1), Site()))
    assert "nvidia.com/gpu" not in text
    assert "volumes" not in text
    assert "hostNetwork" not in text


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
    job = a_job().spec(metrics={"from": [peer]})
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
