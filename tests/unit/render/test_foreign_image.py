"""An image that is not the trainer's gets the launcher from the operator's, whatever else the template says."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import a_job, a_template

from dtj_operator.plan import CreateStore, CreateWorker
from dtj_operator.render import Site, manifest

SITE = Site("dtj-system", "registry.example.com/dtj-operator:1", "Always")
WORKER, STORE = CreateWorker("ner-worker-0000", 0, 1), CreateStore("ner-store", 1)
START = ["python", "/dtj/launcher/start.py"]


def a_pod(action: Any, site: Site, image: str, **pod: Any) -> dict[str, Any]:
    template = a_template(**pod)
    template["spec"]["containers"][0]["image"] = image
    return dict(manifest(a_job().template(template).view(), action, site)["spec"])


def test_a_foreign_image_is_given_the_launcher_before_its_own_init_containers() -> None:
    pod = a_pod(WORKER, SITE, "pytorch/pytorch:2.15.0", initContainers=[{"name": "mine", "image": "busybox"}])
    first = pod["initContainers"][0]
    assert (first["image"], first["imagePullPolicy"]) == (SITE.launcher_image, "Always")
    assert first["command"] == ["dtj-operator", "copy-launcher", "/dtj/launcher"]
    assert first["securityContext"]["runAsNonRoot"], "also where the namespace is restricted"
    (container,) = pod["containers"]
    assert container["command"][:3] == [*START, "dtj_trainer.launch"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "dtj-launcher"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/dtj/launcher", True)
    assert {"name": "dtj-launcher", "emptyDir": {"sizeLimit": "64Mi"}} in pod["volumes"]
    assert [each["name"] for each in pod["initContainers"]] == ["dtj-launcher", "mine"]


@pytest.mark.parametrize("action", [WORKER, STORE])
@pytest.mark.parametrize(
    ("site", "image"),
    [(SITE, "registry.example.com/dtj-trainer@sha256:0123"), (Site("dtj-system"), "pytorch/pytorch:2.15.0")],
    ids=["the trainer's own image", "an operator that was told no image"],
)
def test_nothing_is_brought(action: Any, site: Site, image: str) -> None:
    pod = a_pod(action, site, image)
    assert "initContainers" not in pod
    assert pod["containers"][0]["command"][:2] == ["python", "-m"]
    assert all(each["name"] != "dtj-launcher" for each in pod.get("volumes", []))
