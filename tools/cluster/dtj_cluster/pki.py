"""Keys and certificates of one cluster: made new for each, valid for a year, trusted by nothing else.

Elliptic curve keys, since making a dozen RSA keys takes longer than the API server takes to start. The names matter
more than the keys: the API server knows a component by its subject, and the Node authorizer refuses a kubelet whose
name is not `system:node:<node>` in the group `system:nodes`.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Subject:
    """Who a certificate stands for: a common name, groups, and the names a server is reached by."""

    common_name: str
    groups: Sequence[str] = ()
    names: Sequence[str] = ()


def api_server(addresses: Sequence[str]) -> Subject:
    """The API server under its service names and the ``addresses`` that it is reached by."""
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    return Subject("kube-apiserver", names=[*service, "localhost", *addresses])


def node(name: str, address: str) -> Subject:
    """A kubelet, as client of the API server and as server of logs and exec."""
    return Subject(f"system:node:{name}", ["system:nodes"], [name, address])


COMPONENTS = {
    "admin": Subject("dtj-admin", ["system:masters"]),
    "kubelet-client": Subject("kube-apiserver-kubelet-client", ["system:masters"]),
    # All controllers act as this one: an account and a token for each would take most of the start, at 20 requests a
    # second.
    "controller-manager": Subject("system:kube-controller-manager", ["system:masters"], ["127.0.0.1", "localhost"]),
    "scheduler": Subject("system:kube-scheduler", names=["127.0.0.1", "localhost"]),
    "proxy": Subject("system:kube-proxy"),
    "network": Subject("dtj-network", ["system:masters"]),
}


class Authority:
    """The certificate authority of one cluster, kept in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def certificate(self) -> Path:
        """The authority's certificate (PEM)."""
        return self._folder / "ca.crt"

    def file(self, name: str, suffix: str) -> Path:
        """The ``crt``, ``key`` or ``pub`` file of ``name``."""
        return self._folder / f"{name}.{suffix}"

    def create(self) -> None:
        """Make the authority and the key pair that signs service account tokens, unless they are there."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.certificate.exists():
            return
        tokens = ec.generate_private_key(ec.SECP256R1())
        _write(
            self.file("service-accounts", "pub"),
            tokens.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        )
        _write_key(self.file("service-accounts", "key"), tokens)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dtj-cluster")])
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(self.file("ca", "key"), key)
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, subject: Subject) -> None:
        """Write ``name``.crt and ``name``.key for ``subject``, unless they are there."""
        if self.file(name, "crt").exists():
            return
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        signer = serialization.load_pem_private_key(self.file("ca", "key").read_bytes(), None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.file('ca', 'key')} holds a {type(signer).__name__}, not an elliptic curve key")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject), authority.subject, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        if subject.names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(entry) for entry in subject.names]), critical=False
            )
        certificate = builder.sign(signer, hashes.SHA256())
        _write_key(self.file(name, "key"), key)
        _write(self.file(name, "crt"), certificate.public_bytes(serialization.Encoding.PEM))

    def kubeconfig(self, name: str, server: str, path: Path) -> None:
        """Write a self-contained kubeconfig for the certificate ``name`` to ``path``."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "dtj", "cluster": {"server": server, "certificate-authority-data": _base64(self.certificate)}}
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": _base64(self.file(name, "crt")),
                        "client-key-data": _base64(self.file(name, "key")),
                    },
                }
            ],
            "contexts": [{"name": "dtj", "context": {"cluster": "dtj", "user": name}}],
            "current-context": "dtj",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, json.dumps(config, indent=1).encode(), mode=0o600)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
    )


def _name(subject: Subject) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.groups]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    _write(
        path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        mode=0o600,
    )


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as handle:
        handle.write(content)
    temporary.rename(path)
