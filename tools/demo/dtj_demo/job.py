"""The demo's job: its manifest made to fit the cluster, applied, and followed to its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dtj_api.base import read
from dtj_api.names import KIND, PLURAL, TRAINER_CONTAINER, Component, Condition, Label, Phase
from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus
from dtj_cluster.errors import ClusterError
from dtj_cluster.progress import Step
from dtj_demo.commands import Kubectl, Object
from dtj_demo.place import NAMESPACE, Place
from dtj_demo.progress import fingerprint, line, why
from dtj_demo.show import Show

POLL_SECONDS = 2.0
PATIENCE_SECONDS = 900.0
"""How long nothing at all may happen. The first start of a large image on a slow disk takes minutes."""
DELETE_SECONDS = 240
LOG_LINES = 20


@dataclass(frozen=True)
class Finished:
    """A job that has Succeeded."""

    name: str
    directory: str
    """The job's directory on the claim."""
    status: JobStatus


def manifest(file: Path, place: Place) -> Object:
    """The job in a file, with the demo's namespace, claim and image. Raises ClusterError for another kind of file."""
    documents: list[Object] = [each for each in yaml.safe_load_all(file.read_text()) if each]
    jobs = [each for each in documents if each.get("kind") == KIND]
    if len(jobs) != 1:
        raise ClusterError(f"{file} holds {len(jobs)} objects of kind {KIND}; the demo runs exactly one")
    job = jobs[0]
    job["metadata"]["namespace"] = NAMESPACE
    spec: dict[str, Any] = job["spec"]
    spec["checkpoint"] = {**spec.get("checkpoint", {}), "volume": {"claimName": place.claim}}
    for container in spec["workers"]["template"]["spec"]["containers"]:
        if container["name"] == TRAINER_CONTAINER:
            container["image"] = place.trainer.reference
    return job


def start(job: Object, place: Place, show: Show) -> None:
    """Apply the job; one that is left from an earlier run makes room first."""
    name = str(job["metadata"]["name"])
    old = place.kubectl.get(PLURAL, name, NAMESPACE)
    if old is not None:
        phase = old.get("status", {}).get("phase", Phase.PENDING.value)
        show.say(f"The job {NAMESPACE}/{name} of an earlier run ({phase}) makes room. Its files stay on the claim.")
        with show.step(f"delete the earlier job {name}"):
            _delete(place.kubectl, name)
    place.kubectl.apply(job)


def _delete(kubectl: Kubectl, name: str) -> None:
    timeout = f"{DELETE_SECONDS}s"
    kubectl("delete", PLURAL, name, "--namespace", NAMESPACE, "--timeout", timeout, timeout=DELETE_SECONDS + 30)
    # The garbage collector removes the pods after the job, and new ones would bear their names.
    pods = ("pods", "--selector", f"{Label.JOB_NAME}={name}", "--namespace", NAMESPACE)
    if kubectl("get", *pods, "--output", "name").strip():
        kubectl("wait", "--for=delete", *pods, "--timeout", timeout, timeout=DELETE_SECONDS + 30)


def follow(name: str, place: Place, show: Show, step: Step) -> Finished:
    """Show the job's progress until it has Succeeded. Raises ClusterError, with its own words, when it has not."""
    last: tuple[object, ...] = ()
    changed = time.monotonic()
    while True:
        found = place.kubectl.get(PLURAL, name, NAMESPACE)
        if found is None:
            raise ClusterError(f"the job {NAMESPACE}/{name} was deleted while the demo followed it")
        status = read(JobStatus, found.get("status", {}), "status")
        step.detail = line(status, time.time())
        if fingerprint(status) != last:
            last, changed = fingerprint(status), time.monotonic()
            show.event("progress", text=step.detail, status=status.dump())
        if status.phase is Phase.SUCCEEDED:
            return Finished(name, _directory(found), status)
        if status.phase is Phase.FAILED:
            failed = status.condition(Condition.FAILED)
            said = f"{failed.reason}: {failed.message}" if failed else "no condition says why"
            raise ClusterError(f"the job has Failed. {said}\n{logs(name, place.kubectl)}")
        if time.monotonic() - changed > PATIENCE_SECONDS:
            minutes = PATIENCE_SECONDS / 60
            raise ClusterError(
                f"nothing has happened to the job for {minutes:.0f} min. Last: {status.phase.value}, {why(status)}\n"
                f"{logs(name, place.kubectl)}",
                f"See `kubectl --namespace {NAMESPACE} describe {PLURAL} {name}`.",
            )
        time.sleep(POLL_SECONDS)


def _directory(job: Object) -> str:
    spec = read(JobSpec, job["spec"], "spec")
    if spec.checkpoint is None:
        raise ClusterError("the job has no spec.checkpoint, so it leaves nothing behind")
    return spec.checkpoint.directory(job["metadata"]["name"], job["metadata"]["uid"])


def logs(name: str, kubectl: Kubectl) -> str:
    """The last lines of every worker, or why there are none."""
    workers = f"{Label.JOB_NAME}={name},{Label.COMPONENT}={Component.WORKER}"
    try:
        return kubectl(
            "logs", "--namespace", NAMESPACE, "--selector", workers,
            "--container", TRAINER_CONTAINER, "--tail", str(LOG_LINES), "--prefix",
        ) or "(the workers have logged nothing)"  # fmt: skip
    except ClusterError as error:
        return f"(the workers' logs cannot be read: {error})"
