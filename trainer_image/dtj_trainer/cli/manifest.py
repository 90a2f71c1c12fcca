"""A job's manifest, read as kubectl and the API server read it: what they take runs here, what they refuse does not."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from dtj_api.base import ApiModel, ManifestError, read
from dtj_api.names import API_VERSION, KIND, MAX_JOB_NAME
from dtj_api.spec import JobSpec
from dtj_trainer.cli.kube_yaml import ManifestSyntaxError, documents

_FIELDS = {"apiVersion", "kind", "metadata", "spec", "status"}
T = TypeVar("T")
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def _decoded(text: Any) -> Any:
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError(f"not base64: {error}; write text below data instead") from None


class ConfigMap(ApiModel):
    """What a ConfigMap holds, by key."""

    data: dict[str, str] = Field(default_factory=dict)
    binary_data: dict[str, Annotated[bytes, BeforeValidator(_decoded)]] = Field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        """What a volume of it holds; variables are of `data` alone."""
        return {key: text.encode() for key, text in self.data.items()} | self.binary_data


@dataclass(frozen=True)
class Job:
    """The one job of a file."""

    name: str
    spec: JobSpec
    config_maps: dict[str, ConfigMap] = field(default_factory=dict)
    """Those beside it, by name."""

    def text_of(self, config_map: str, key: str, *, optional: bool) -> str | None:
        """One text of a ConfigMap beside the job; None: it lacks the key, and may.

        Raises:
            ManifestError: it lacks the key, without which no pod would start.
        """
        return _value(self.config_maps[config_map].data, key, optional, f"ConfigMap {config_map}", "data")

    def file_of(self, config_map: str, key: str, *, optional: bool) -> bytes | None:
        """The same for the content of a file of a volume."""
        return _value(
            self.config_maps[config_map].files, key, optional, f"ConfigMap {config_map}", "data or binaryData"
        )


def _value(values: Mapping[str, T], key: str, optional: bool, owner: str, where: str) -> T | None:
    if key not in values and not optional:
        keys = ", ".join(sorted(values)) or "none"
        raise ManifestError(
            f"{owner} has no key {key} in {where}; its keys there are {keys}: no pod would start without it, unless "
            "the template says `optional: true`"
        )
    return values.get(key)


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
    found = {str(each["metadata"].get("name")): each for each in maps}
    return replace(
        read_job(jobs[0], str(file)),
        config_maps={name: _config_map(each, f"{file}: ConfigMap {name}") for name, each in found.items()},
    )


def _config_map(given: dict[str, Any], where: str) -> ConfigMap:
    return read(ConfigMap, {name: given[name] for name in ("data", "binaryData") if name in given}, where)


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
