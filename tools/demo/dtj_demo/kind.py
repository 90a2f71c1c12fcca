"""A kind cluster, for machines with a Docker engine.

kind's own storage class makes ReadWriteOnce volumes on one node. So a folder of this machine is mounted into every
node, and a static ReadWriteMany volume points at it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from dtj_demo.commands import Kubectl, Object, find, run
from dtj_demo.local import read_file
from dtj_demo.place import CLAIM, NAMESPACE, Image, Place
from dtj_demo.show import Show

ROOT = Path(__file__).resolve().parents[3]
IN_NODE = "/dtj-volume"
TRAINER_UID = 1000
SIZE = "100Gi"
DOCKERFILES = {"operator": "Dockerfile", "trainer": "trainer_image/Dockerfile"}
BUILD_TIMEOUT = 3600.0
LOAD_TIMEOUT = 1800.0


def prepare(show: Show, name: str) -> Place:
    """Make the cluster when it is not there, build the images with Docker and load them."""
    why = "CLUSTER=kind needs it"
    docker, kind, program, helm = (find(each, why) for each in ("docker", "kind", "kubectl", "helm"))
    run([docker, "info", "--format", "{{.ServerVersion}}"])
    folder = _volume_folder(name)
    kubeconfig = folder.with_name(f"kind-{name}.kubeconfig")
    with show.step(f"kind cluster {name}"):
        if name not in run([kind, "get", "clusters"]).split():
            config = json.dumps(cluster_config(folder))
            run([kind, "create", "cluster", "--name", name, "--config", "-", "--wait", "3m"], stdin=config, timeout=900)
        kubeconfig.write_text(run([kind, "get", "kubeconfig", "--name", name]))
        kubeconfig.chmod(0o600)
    for node in run([kind, "get", "nodes", "--name", name]).split():
        # The folder belongs to whoever runs the demo; inside the node, root may give it to the trainer's user.
        run([docker, "exec", node, "chown", f"{TRAINER_UID}:{TRAINER_UID}", IN_NODE])
    built = {}
    for image, dockerfile in DOCKERFILES.items():
        reference = f"localhost/dtj-{image}:dev"
        with show.step(f"image {image}: docker build"):
            run([docker, "build", "--file", ROOT / dockerfile, "--tag", reference, ROOT], timeout=BUILD_TIMEOUT)
        with show.step(f"image {image}: onto the nodes"):
            run([kind, "load", "docker-image", "--name", name, reference], timeout=LOAD_TIMEOUT)
        built[image] = Image(reference, run([docker, "image", "inspect", "--format", "{{.Id}}", reference]).strip())
    kubectl = Kubectl(program, kubeconfig)
    kubectl.apply(*volume(NAMESPACE, CLAIM))
    return Place(
        kubectl=kubectl,
        helm=helm,
        operator=built["operator"],
        trainer=built["trainer"],
        claim=CLAIM,
        read=lambda path: read_file(folder / path),
        where=lambda path: str(folder / path),
        farewell=f"The cluster is still up. Look around: export KUBECONFIG={kubeconfig}\n"
        f"Remove it: kind delete cluster --name {name}",
    )


def _volume_folder(name: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "dtj" / f"kind-{name}" / "volume"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cluster_config(folder: Path) -> Object:
    """kind's configuration: a control plane and two workers, each with the folder mounted."""
    mount = {"hostPath": str(folder), "containerPath": IN_NODE}
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": role, "extraMounts": [mount]} for role in ("control-plane", "worker", "worker")],
    }


def volume(namespace: str, claim: str) -> list[Object]:
    """The namespace, and the static ReadWriteMany volume with its claim."""
    name = f"{namespace}-{claim}"
    shape: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                **shape,
                "capacity": {"storage": SIZE},
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": IN_NODE, "type": "Directory"},
                "claimRef": {"namespace": namespace, "name": claim},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {**shape, "volumeName": name, "resources": {"requests": {"storage": SIZE}}},
        },
    ]
