"""What metrics-server is told and how it becomes a part of the API; that an autoscaler can live on it is seen by the
end-to-end tests.
"""

import base64
import pathlib

import pytest

from dtj_cluster import Cluster, ClusterError, metrics_server, pki
from dtj_cluster.state import Options, Paths, Phase, State

HOST = "10.88.0.1"


def test_its_certificate_is_for_the_name_that_the_api_server_calls(tmp_path):
    authority = pki.Authority(tmp_path)
    told = metrics_server.flags(authority, tmp_path / "kubeconfig", HOST)
    objects = dict(metrics_server.objects(HOST, b"authority"))
    registered = next(body["spec"] for path, body in objects.items() if path.endswith("/apiservices"))
    service = registered["service"]

    assert f"{service['name']}.{service['namespace']}.svc" == metrics_server.SERVED_AS
    assert base64.b64decode(registered["caBundle"]) == b"authority"
    assert pathlib.Path(str(told["tls-cert-file"])) == authority.file(metrics_server.NAME, "crt")
    # Whose certificates the kubelets show is known here: no need to trust them blindly.
    assert told["kubelet-certificate-authority"] == authority.certificate
    assert "kubelet-insecure-tls" not in told


def test_its_service_leads_to_the_program_on_this_machine(tmp_path):
    told = metrics_server.flags(pki.Authority(tmp_path), tmp_path / "kubeconfig", HOST)
    objects = dict(metrics_server.objects(HOST, b"authority"))
    service = next(body["spec"] for path, body in objects.items() if path.endswith("/services"))
    registered = next(body["spec"] for path, body in objects.items() if path.endswith("/apiservices"))

    assert (service["type"], service["externalName"]) == ("ExternalName", told["bind-address"])
    assert registered["service"]["port"] == told["secure-port"]


def test_all_may_read_and_nobody_may_write():
    objects = dict(metrics_server.objects(HOST, b"authority"))
    (role,) = (body for path, body in objects.items() if path.endswith("/clusterroles"))
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}


def test_a_cluster_without_nodes_has_nothing_to_measure(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(Cluster, "api", lambda self: None)
    monkeypatch.setattr(Cluster, "nodes", [])
    options = Options.checked(nodes=0, fake_nodes=0, control_plane_only=True, gpus_per_node=0, client_qps=None)
    Paths.of("bare").save(State(name="bare", boot="now", phase=Phase.UP, options=options))

    with pytest.raises(ClusterError, match="bare has no nodes"):
        metrics_server.start(Cluster("bare"))
