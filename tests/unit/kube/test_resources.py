"""Each resource has its path, and a manifest its resource."""

from __future__ import annotations

import pytest

from dtj_operator.kube.resources import ALL, JOBS, LEASES, NODES, PODS, Resource, of_manifest

PATHS = [
    (PODS, ("ns", "p", None), "/api/v1/namespaces/ns/pods/p"),
    (PODS, (None, None, None), "/api/v1/pods"),
    (NODES, (None, "n", None), "/api/v1/nodes/n"),
    (LEASES, ("ns", "l", None), "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l"),
    (JOBS, ("ns", "j", "status"), "/apis/dtj.dev/v1alpha1/namespaces/ns/distributedtrainingjobs/j/status"),
]


@pytest.mark.parametrize(("resource", "where", "path"), PATHS)
def test_paths(resource: Resource, where, path):
    assert resource.path(*where) == path


def test_a_namespaced_object_without_its_namespace_is_a_defect():
    with pytest.raises(ValueError, match="namespace"):
        PODS.path(None, "p")


def test_a_manifest_finds_its_resource_and_a_foreign_kind_is_refused():
    assert [of_manifest({"apiVersion": each.api_version, "kind": each.kind}) for each in ALL] == list(ALL)
    with pytest.raises(ValueError, match="Deployment"):
        of_manifest({"apiVersion": "apps/v1", "kind": "Deployment"})
