"""The CustomResourceDefinition, generated from the models: `python -m dtj_api.crd` writes it.

It is written twice, to crds/ for those who apply it by hand and into the chart, which can keep it when it is
uninstalled. Both are committed; a test fails when they are stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from . import names
from .spec import OBJECT_RULES, JobSpec
from .status import JobStatus
from .structural import RULES, Schema, structural

REPOSITORY = Path(__file__).resolve().parents[2]
CRD_FILE = Path("crds") / f"{names.GROUP}_{names.PLURAL}.yaml"
CHART_FILE = Path("charts/dtj-operator/files") / CRD_FILE.name
HEADER = "# Generated from operator/dtj_api by `python -m dtj_api.crd`. Change the models, not this file.\n"

NAME_RULE = {
    "rule": f"size(self.metadata.name) <= {names.MAX_JOB_NAME} && "
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "message": f"metadata.name must be at most {names.MAX_JOB_NAME} characters, lower-case letters, digits and `-`, "
    "beginning with a letter and ending with a letter or a digit: the names of the job's pods are made from it",
    "fieldPath": ".metadata.name",
}

COLUMNS = (
    ("Phase", "string", ".status.phase", "What the job is doing", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether all wanted workers train", 0),
    ("Workers", "integer", ".status.workers.ready", "Worker pods that are ready", 0),
    ("Step", "integer", ".status.progress.step", "Optimizer steps done", 0),
    ("Loss", "number", ".status.progress.loss", "Training loss as last reported", 0),
    ("Rate", "number", ".status.progress.samplesPerSecond", "Samples per second over all ranks", 0),
    ("Restarts", "integer", ".status.restarts.counted", "Restarts charged to maxRestarts", 0),
    ("Tokens/s", "number", ".status.progress.tokensPerSecond", "Tokens per second over all ranks", 1),
    ("Incarnation", "integer", ".status.incarnation", "How often all workers had to meet anew", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Time since the job was made", 0),
)


def schema() -> Schema:
    """openAPIV3Schema of the resource."""
    status = structural(JobStatus, defaults=False)
    status["properties"]["conditions"] |= {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    return {
        "type": "object",
        "description": "Elastic PyTorch training that survives the loss of processes, pods and nodes.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": structural(JobSpec),
            "status": status,
        },
        RULES: [NAME_RULE, *(rule.schema() for rule in OBJECT_RULES)],
    }


def crd() -> dict[str, Any]:
    """The whole CustomResourceDefinition."""
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.workers.replicas",
                "statusReplicasPath": ".status.workers.active",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "description": text, "priority": priority}
            for name, kind, path, text, priority in COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": ["all", "training"],
            },
            "versions": [version],
        },
    }


def render() -> str:
    """The file's text."""
    return HEADER + yaml.dump(crd(), Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    """YAML without anchors: kubectl reads them, people and other tools do not."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


def main() -> int:
    """Write both copies below the repository's root."""
    for path in (CRD_FILE, CHART_FILE):
        target = REPOSITORY / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render())
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
