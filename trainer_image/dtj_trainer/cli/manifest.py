"""A job's manifest, read as the operator reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from dtj_api.base import ManifestError, read
from dtj_api.names import API_VERSION, KIND
from dtj_api.spec import JobSpec


@dataclass(frozen=True)
class Job:
    """The one job of a file."""

    name: str
    spec: JobSpec


def load_job(file: Path) -> Job:
    """Read the file's only DistributedTrainingJob; other objects in it are for a cluster and left alone.

    Raises:
        ManifestError: names the field, what was found and what is allowed.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text()))
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: not YAML: {error}") from None
    jobs = [each for each in documents if isinstance(each, dict) and each.get("kind") == KIND]
    if len(jobs) != 1:
        raise ManifestError(f"{file}: kind: found {len(jobs)} objects of kind {KIND}, expected one")
    job = jobs[0]
    if job.get("apiVersion") != API_VERSION:
        raise ManifestError(f"{file}: apiVersion: found {job.get('apiVersion')!r}, allowed is {API_VERSION}")
    metadata = job.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise ManifestError(f"{file}: metadata.name: required, but missing")
    return Job(name, read(JobSpec, job.get("spec") or {}, f"{file}: spec"))
