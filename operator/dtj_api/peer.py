"""`spec.metrics.from`: the namespaces whose pods may scrape a job's workers, as peers of a NetworkPolicy.

A job's policy opens its pods whatever else the namespace forbids, and who may create jobs need not be one who may write
policies. So a peer names a namespace, which the installation must know (`jobs.metricsFrom` of the chart), and never an
address: that would let in whoever has it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from .base import STORED, ApiModel, ManifestError, Rule, read, with_rules

NAME_LABEL = "kubernetes.io/metadata.name"
NO_ADDRESS = "must not be an ipBlock, which lets in whoever has the address; name a namespace instead"
NO_NAMESPACE = (
    f"names no namespace; write namespaceSelector: {{matchLabels: {{{NAME_LABEL}: <namespace>}}}}, or a podSelector "
    "for the job's own"
)
_LABELS = "self.namespaceSelector.matchLabels"
_RULES = with_rules(
    Rule("!has(self.ipBlock)", NO_ADDRESS),
    Rule(
        "has(self.ipBlock) || (has(self.namespaceSelector) ? !has(self.namespaceSelector.matchExpressions) && "
        f"has({_LABELS}) && size({_LABELS}) == 1 && '{NAME_LABEL}' in {_LABELS} : has(self.podSelector))",
        NO_NAMESPACE,
    ),
)
_Any = dict[str, Any]


class _NamespaceSelector(ApiModel):
    model_config = ConfigDict(extra="allow")

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(default_factory=dict, max_length=16)
    match_expressions: list[_Any] | None = Field(default=None, max_length=16)


class _Peer(ApiModel):
    model_config = ConfigDict(extra="allow", json_schema_extra=_RULES["json_schema_extra"])

    ip_block: _Any | None = None
    namespace_selector: _NamespaceSelector | None = None
    pod_selector: _Any | None = None


def _check(raw: Any, info: ValidationInfo) -> Any:
    if info.context == STORED:
        # What was taken before there were rules is judged when it is used: a job that runs is not lost by it.
        return raw
    try:
        read(_Peer, raw, "peer")
    except ManifestError as error:
        raise ValueError("; ".join(line.removeprefix("peer: ") for line in str(error).splitlines())) from None
    if raw.get("ipBlock") is not None:
        raise ValueError(NO_ADDRESS)
    if namespace_of(raw, "own") is None:
        raise ValueError(NO_NAMESPACE)
    return raw


class _DeclaredSchema:
    """Makes the generated schema that of `_Peer`, while the value stays the dict of the manifest."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(_Peer.__pydantic_core_schema__)


Peer = Annotated[_Any, BeforeValidator(_check), _DeclaredSchema()]
"""A NetworkPolicyPeer as the manifest gave it."""


def namespace_of(peer: _Any, own: str) -> str | None:
    """The one namespace that a peer lets in, or None: it is none of those that may be written.

    Args:
        peer: as stored, whatever it is.
        own: the job's namespace, which a podSelector alone means.
    """
    selector, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    if peer.get("ipBlock") is not None:
        return None
    if selector is None:
        return own if pods is not None else None
    labels = selector.get("matchLabels") if isinstance(selector, dict) else None
    if not isinstance(labels, dict) or set(labels) != {NAME_LABEL} or selector.get("matchExpressions") is not None:
        return None
    return str(labels[NAME_LABEL])
