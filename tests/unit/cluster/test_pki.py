"""The names in the certificates decide who is let in as what."""

import base64
import ipaddress
import json
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dtj_cluster import pki


@pytest.fixture
def authority(tmp_path):
    made = pki.Authority(tmp_path / "pki")
    made.create()
    return made


def issued(authority, subject):
    authority.issue("one", subject)
    return x509.load_pem_x509_certificate(authority.file("one", "crt").read_bytes())


def values(certificate, oid):
    return [attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid)]


SUBJECTS = [
    (pki.COMPONENTS["admin"], "dtj-admin", ["system:masters"]),
    (pki.COMPONENTS["controller-manager"], "system:kube-controller-manager", ["system:masters"]),
    (pki.COMPONENTS["scheduler"], "system:kube-scheduler", []),
    (pki.COMPONENTS["proxy"], "system:kube-proxy", []),
    (pki.node("node-3", "10.88.0.13"), "system:node:node-3", ["system:nodes"]),
]


@pytest.mark.parametrize(("subject", "name", "groups"), SUBJECTS, ids=[row[1] for row in SUBJECTS])
def test_a_certificate_names_the_user_and_the_groups_that_the_api_server_knows(authority, subject, name, groups):
    certificate = issued(authority, subject)

    assert values(certificate, NameOID.COMMON_NAME) == [name]
    assert values(certificate, NameOID.ORGANIZATION_NAME) == groups


def test_the_api_server_is_reached_by_its_service_names_and_all_its_addresses(authority):
    certificate = issued(authority, pki.api_server(["127.0.0.1", "10.152.0.1", "10.88.0.1"]))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {
        "127.0.0.1", "10.152.0.1", "10.88.0.1",
    }  # fmt: skip
    assert {"kubernetes", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"} <= set(
        names.get_values_for_type(x509.DNSName)
    )


def test_a_kubelet_serves_under_its_name_and_its_address(authority):
    certificate = issued(authority, pki.node("node-0", "10.88.0.10"))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node-0"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.IPv4Address("10.88.0.10")]


def test_certificates_are_signed_by_the_authority(authority):
    certificate = issued(authority, pki.COMPONENTS["admin"])
    root = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    key = root.public_key()

    assert isinstance(key, ec.EllipticCurvePublicKey)
    certificate.verify_directly_issued_by(root)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_what_is_there_is_kept(authority):
    before = issued(authority, pki.COMPONENTS["admin"]).serial_number
    root = authority.certificate.read_bytes()

    authority.create()

    assert authority.certificate.read_bytes() == root
    assert issued(authority, pki.COMPONENTS["admin"]).serial_number == before


def test_keys_are_for_their_owner_only(authority):
    authority.issue("one", pki.COMPONENTS["admin"])

    for name in ("one", "ca", "service-accounts"):
        assert stat.S_IMODE(authority.file(name, "key").stat().st_mode) == 0o600


def test_a_kubeconfig_works_from_anywhere(authority, tmp_path):
    authority.issue("admin", pki.COMPONENTS["admin"])
    path = tmp_path / "below" / "kubeconfig"

    authority.kubeconfig("admin", "https://127.0.0.1:6443", path)

    config = json.loads(path.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    assert cluster["server"] == "https://127.0.0.1:6443"
    assert base64.b64decode(cluster["certificate-authority-data"]) == authority.certificate.read_bytes()
    assert base64.b64decode(user["client-key-data"]) == authority.file("admin", "key").read_bytes()
    assert config["current-context"] == config["contexts"][0]["name"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
