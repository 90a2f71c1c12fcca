"""Whether the operator's role has what the operator needs, asked before the first watch: a right that is missing would
otherwise show hours later, on the one job that needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from dtj_operator.config import Config
from dtj_operator.kube.client import KubeClient
from dtj_operator.kube.resources import (
    ACCESS_REVIEWS,
    CLAIMS,
    EVENTS,
    JOBS,
    LEASES,
    NETWORK_POLICIES,
    NODES,
    OWN_ACCESS_REVIEWS,
    PODS,
    SECRETS,
    SERVICES,
    TOKEN_REVIEWS,
    Resource,
)

IN_JOBS_NAMESPACES: tuple[tuple[Resource, str, str], ...] = (
    (JOBS, "", "get list watch delete"),
    (JOBS, "status", "update"),
    (PODS, "", "get list watch create delete"),
    (SERVICES, "", "get list watch create delete"),
    (NETWORK_POLICIES, "", "get list watch create delete"),
    (CLAIMS, "", "get create"),
    (SECRETS, "", "get create"),
    (EVENTS, "", "create"),
)
"""Resource, subresource and verbs: what the chart's role gives there."""


@dataclass(frozen=True)
class Right:
    """One verb on one resource."""

    resource: Resource
    verb: str
    namespace: str = ""
    """Empty: in all of them, or of the cluster."""
    subresource: str = ""
    name: str = ""
    """Of the one object; empty: of any."""

    def __str__(self) -> str:
        what = "/".join(part for part in (self.resource.plural, self.subresource) if part)
        group = f".{self.resource.group}" if self.resource.group else ""
        return f"{self.verb} {what}{group}" + (f" in {self.namespace}" if self.namespace else "")


def needed(config: Config, lease_namespace: str) -> list[Right]:
    """All that an operator with these settings does at the API server.

    Args:
        config: its settings.
        lease_namespace: where its Lease is.
    """
    rights = [
        Right(resource, verb, namespace, subresource)
        for namespace in config.namespaces or ("",)
        for resource, subresource, verbs in IN_JOBS_NAMESPACES
        for verb in verbs.split()
    ]
    rights += [Right(NODES, verb) for verb in ("list", "watch")]
    if config.leader_election:
        rights.append(Right(LEASES, "create", lease_namespace))
        rights += [Right(LEASES, verb, lease_namespace, name=config.lease_name) for verb in ("get", "update")]
    if config.metrics_auth:
        rights += [Right(resource, "create") for resource in (TOKEN_REVIEWS, ACCESS_REVIEWS)]
    return rights


async def missing(client: KubeClient, rights: Sequence[Right]) -> list[Right]:
    """Those of the rights that we have not, in their order.

    Raises:
        KubeError: the API server does not tell.
    """
    has = await asyncio.gather(*(_has(client, each) for each in rights))
    return [right for right, ours in zip(rights, has, strict=True) if not ours]


async def _has(client: KubeClient, right: Right) -> bool:
    attributes = {
        "namespace": right.namespace,
        "verb": right.verb,
        "group": right.resource.group,
        "version": right.resource.version,
        "resource": right.resource.plural,
        "subresource": right.subresource,
        "name": right.name,
    }
    body = {
        "apiVersion": OWN_ACCESS_REVIEWS.api_version,
        "kind": OWN_ACCESS_REVIEWS.kind,
        "metadata": {},
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    answer = await client.create(OWN_ACCESS_REVIEWS, None, body)
    return (answer.get("status") or {}).get("allowed") is True
