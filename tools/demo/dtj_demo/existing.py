"""A cluster that is there already: the one that KUBECONFIG names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dtj_cluster.errors import ClusterError
from dtj_demo import chart
from dtj_demo.commands import Kubectl, Object, find
from dtj_demo.place import CLAIM, NAMESPACE, Image, Place
from dtj_demo.show import Show

MOUNT = "/claim"
READER = "dtj-demo-reader"
TRAINER_UID = 1000


@dataclass(frozen=True)
class Given:
    """What only the owner of the cluster can say."""

    operator_image: str
    image: str
    claim: str
    storage_class: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Given:
        """Read it from the variables of `make demo`. Raises ClusterError that names all that is missing."""
        given = {key: environment.get(key, "") for key in ("OPERATOR_IMAGE", "IMAGE", "CLAIM", "STORAGE_CLASS")}
        missing = []
        if not given["OPERATOR_IMAGE"]:
            missing.append(
                "OPERATOR_IMAGE= the operator's image (built from Dockerfile), where the cluster can pull it"
            )
        if not given["IMAGE"]:
            missing.append("IMAGE= the trainer's image (built from trainer_image/Dockerfile), likewise")
        if bool(given["CLAIM"]) == bool(given["STORAGE_CLASS"]):
            missing.append(
                f"either CLAIM= a ReadWriteMany claim in the namespace {NAMESPACE}, or STORAGE_CLASS= a class that can "
                "make ReadWriteMany volumes: all workers write checkpoints to one volume"
            )
        if missing:
            raise ClusterError("CLUSTER=existing needs:\n" + "\n".join(f"  {line}" for line in missing))
        return cls(given["OPERATOR_IMAGE"], given["IMAGE"], given["CLAIM"], given["STORAGE_CLASS"])


def prepare(show: Show, environment: Mapping[str, str]) -> Place:
    """Check that the cluster answers, and find or make the claim."""
    given = Given.of(environment)
    why = "CLUSTER=existing needs it"
    kubectl, helm = Kubectl(find("kubectl", why)), find("helm", why)
    claim = given.claim or CLAIM
    with show.step("claim on the cluster"):
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        if given.storage_class:
            kubectl.apply(claim_of_class(claim, given.storage_class))
        elif kubectl.get("persistentvolumeclaim", claim, NAMESPACE) is None:
            raise ClusterError(
                f"CLAIM={claim}: there is no such claim in the namespace {NAMESPACE}", "Make it there first."
            )
    return Place(
        kubectl=kubectl,
        helm=helm,
        operator=Image(given.operator_image),
        trainer=Image(given.image),
        claim=claim,
        read=lambda path: _read(kubectl, claim, given.image, path),
        where=lambda path: f"{path} on the claim {NAMESPACE}/{claim}",
        farewell="Remove what the demo made: "
        f"kubectl delete namespace {NAMESPACE}; helm uninstall {chart.RELEASE} --namespace {chart.NAMESPACE}",
    )


def claim_of_class(name: str, storage_class: str) -> Object:
    """A ReadWriteMany claim for the storage class to fill."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "20Gi"}},
        },
    }


def reader(claim: str, image: str, path: str) -> Object:
    """A pod that prints one file of the claim. The workers' pods have ended, so none of them can be asked."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": TRAINER_UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": READER, "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "reader",
                    "image": image,
                    "command": ["cat", f"{MOUNT}/{path}"],
                    "securityContext": restricted,
                    "volumeMounts": [{"name": "claim", "mountPath": MOUNT, "readOnly": True}],
                }
            ],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }


def _read(kubectl: Kubectl, claim: str, image: str, path: str) -> str:
    remove = ("delete", "pod", READER, "--namespace", NAMESPACE, "--ignore-not-found")
    kubectl(*remove)
    kubectl.apply(reader(claim, image, path))
    try:
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        kubectl("wait", ended, f"pod/{READER}", "--namespace", NAMESPACE, "--timeout", "100s")
        return kubectl("logs", READER, "--namespace", NAMESPACE)
    finally:
        kubectl(*remove)
