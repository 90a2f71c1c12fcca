"""A job's manifest, read as kubectl and the API server read it: what they take runs here, what they refuse does not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from dtj_api.base import ApiModel, ManifestError, read
from dtj_api.names import API_VERSION, KIND, MAX_JOB_NAME
from dtj_api.spec import JobSpec
from dtj_trainer.cli.kube_yaml import ManifestSyntaxError, documents

_FIELDS = {"apiVersion", "kind", "metadata", "spec", "status"}
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Job:
    """The one job of a file."""

    name: str
    spec: JobSpec
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    """Texts of the ConfigMaps beside it, by name and key."""

    def text_of(self, config_map: str, key: str, *, optional: bool) -> str | None:
        """One text of a ConfigMap beside the job; None: it lacks the key, and may.

        Raises:
            ManifestError: it lacks the key, without which no pod would start.
        """
        texts = self.config_maps[config_map]
        if key not in texts and not optional:
            keys = ", ".join(sorted(texts)) or "none"
            raise ManifestError(
                f"ConfigMap {config_map} has no key {key}; its keys are {keys}: no pod would start without it, unless "
                "the template says `optional: true`"
            )
        return texts.get(key)


class _Metadata(ApiModel):
    """What a manifest may say of the object itself."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    generate_name: str = ""
    resource_version: str = ""
    uid: str = ""


def load_job(file: Path) -> Job:
    """Read the file's only DistributedTrainingJob; other objects in it are for a cluster and left alone.

    Raises:
        ManifestError: names the field, what was found and what is allowed.
    """
    objects = objects_in(file)
    jobs = [each for each in objects if each.get("kind") == KIND]
    if len(jobs) != 1:
        raise ManifestError(f"{file}: kind: found {len(jobs)} objects of kind {KIND}, expected one")
    maps = [each for each in objects if each.get("kind") == "ConfigMap" and isinstance(each.get("metadata"), dict)]
    return replace(
        read_job(jobs[0], str(file)),
        config_maps={str(each["metadata"].get("name")): dict(each.get("data") or {}) for each in maps},
    )


def objects_in(file: Path) -> list[dict[str, Any]]:
    """All objects of a file, not looked at yet.

    Raises:
        ManifestError: the file cannot be read.
    """
    try:
        return _objects(documents(file.read_bytes()))
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read: {error.strerror}") from None
    except ManifestSyntaxError as error:
        raise ManifestError(f"{file}: not YAML: {error}") from None


def read_job(job: dict[str, Any], where: str) -> Job:
    """Read one object as the API server does.

    Args:
        job: of kind DistributedTrainingJob.
        where: the file; errors begin with it.

    Raises:
        ManifestError: names the field, what was found and what is allowed.
    """
    if job.get("apiVersion") != API_VERSION:
        raise ManifestError(f"{where}: apiVersion: found {job.get('apiVersion')!r}, allowed is {API_VERSION}")
    metadata = job.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise ManifestError(f"{where}: metadata.name: required, but missing")
    if unknown := sorted(set(job) - _FIELDS):
        raise ManifestError(f"{where}: {unknown[0]}: unknown field; check its spelling and its indentation")
    name = read(_Metadata, metadata, f"{where}: metadata").name
    if len(name) > MAX_JOB_NAME or not _NAME.fullmatch(name):
        raise ManifestError(
            f"{where}: metadata.name: must be at most {MAX_JOB_NAME} lower-case letters, digits and `-`, beginning "
            f"with a letter and ending with a letter or a digit (found {name!r})"
        )
    return Job(name, read(JobSpec, job.get("spec") or {}, f"{where}: spec"))


def _objects(found: list[Any]) -> list[dict[str, Any]]:
    """All objects, those of a List by themselves."""
    objects = []
    for each in found:
        if isinstance(each, dict) and each.get("kind") == "List":
            objects += _objects(each.get("items") or [])
        elif isinstance(each, dict):
            objects.append(each)
    return objects
