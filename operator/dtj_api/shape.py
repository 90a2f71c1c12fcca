"""The parts of a pod template that the operator adds to, and of which form they must be for that.

The schema leaves these to the API server, which says what is wrong with them when it is asked for a worker pod. To ask
there must be a manifest, and to a list that is none nothing can be added. So this one thing is checked beforehand.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from .base import ApiModel, ManifestError, read

_Entry = dict[str, Any]


class _Part(ApiModel):
    """A part of which only the form of some fields matters."""

    model_config = ConfigDict(extra="allow")


class _Mount(_Part):
    mount_path: str = ""


class _Resources(_Part):
    limits: _Entry = Field(default_factory=dict)


class _Container(_Part):
    image: str = ""
    resources: _Resources = Field(default_factory=_Resources)
    ports: list[_Entry] = Field(default_factory=list)
    volume_mounts: list[_Mount] = Field(default_factory=list)
    security_context: _Entry = Field(default_factory=dict)


class _NodeAffinity(_Part):
    preferred: list[_Entry] = Field(default_factory=list, alias="preferredDuringSchedulingIgnoredDuringExecution")


class _Affinity(_Part):
    node_affinity: _NodeAffinity = Field(default_factory=_NodeAffinity)


class _PodSpec(_Part):
    containers: list[_Container]
    init_containers: list[_Entry] = Field(default_factory=list)
    volumes: list[_Entry] = Field(default_factory=list)
    tolerations: list[_Entry] = Field(default_factory=list)
    affinity: _Affinity = Field(default_factory=_Affinity)
    security_context: _Entry = Field(default_factory=dict)


class _Metadata(_Part):
    labels: _Entry = Field(default_factory=dict)
    annotations: _Entry = Field(default_factory=dict)


class _Template(_Part):
    metadata: _Metadata = Field(default_factory=_Metadata)
    spec: _PodSpec


def misshapen(template: dict[str, Any]) -> str | None:
    """What nothing can be added to, one line each with its path; None where all can be. Null counts as absent."""
    try:
        read(_Template, template, "spec.workers.template")
    except ManifestError as error:
        return str(error)
    return None
