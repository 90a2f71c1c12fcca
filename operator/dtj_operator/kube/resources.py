"""The resources that the operator touches, and their paths. One place, so that RBAC can be checked against it."""

from __future__ import annotations

from dataclasses import dataclass

from dtj_api import names


@dataclass(frozen=True)
class Resource:
    """One kind of object at the API server."""

    group: str
    """Empty for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, of one object, or of a subresource of it.

        Raises:
            ValueError: an object of a namespaced resource without its namespace.
        """
        if self.namespaced and name is not None and not namespace:
            raise ValueError(f"{self.kind} {name}: the namespace is missing")
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


JOBS = Resource(names.GROUP, names.VERSION, names.KIND, names.PLURAL)
PODS = Resource("", "v1", "Pod", "pods")
NODES = Resource("", "v1", "Node", "nodes", namespaced=False)
SERVICES = Resource("", "v1", "Service", "services")
SECRETS = Resource("", "v1", "Secret", "secrets")
CLAIMS = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases")
EVENTS = Resource("events.k8s.io", "v1", "Event", "events")
CRDS = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)

TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False)
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False)
OWN_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False
)
"""Questions that are asked by creating them; nothing of them is stored."""

ALL = (JOBS, PODS, NODES, SERVICES, SECRETS, CLAIMS, NETWORK_POLICIES, LEASES, EVENTS, CRDS)
_BY_TYPE = {(resource.api_version, resource.kind): resource for resource in ALL}


def of_manifest(manifest: dict[str, object]) -> Resource:
    """The resource of a manifest, by its apiVersion and kind.

    Raises:
        ValueError: a kind that the operator never touches.
    """
    key = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if key not in _BY_TYPE:
        raise ValueError(f"{key[0]} {key[1]}: not a kind that the operator makes")
    return _BY_TYPE[key]
