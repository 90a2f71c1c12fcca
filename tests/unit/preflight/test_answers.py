"""What the preflight says of a registry by its answer, or by why there is none."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dtj_preflight import registries
from dtj_preflight.faults import Fault
from dtj_preflight.registries import Registry


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status that its path ends with."""

    def do_HEAD(self) -> None:
        self.server.seen.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        self.send_response(int(self.path.rpartition("/")[2]), "as asked")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, *words: object) -> None:
        """The test's output is not for it."""


@pytest.fixture
def serve() -> Iterator[Callable[..., http.server.ThreadingHTTPServer]]:
    """Starts a server on the loopback, with TLS where a certificate is given."""
    with_threads: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def start(certificate: Path | None = None) -> http.server.ThreadingHTTPServer:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.seen = []  # type: ignore[attr-defined]
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with_threads.append((server, thread))
        return server

    yield start
    for server, thread in with_threads:
        server.shutdown()
        thread.join()
        server.server_close()


def address(server: http.server.ThreadingHTTPServer) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a certificate of an authority that nobody knows, with its key, good until so many days from now."""

    def make(days: int) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a company")])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=30)).not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = tmp_path / f"certificate-{days}.pem"
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
        return file

    return make


def asked(url: str, **more: object) -> Fault:
    (found,) = registries.ask_all([Registry("the index", url, "PIP_INDEX_URL", **more)])  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("status", [200, 404, 405])
def test_whoever_answers_is_there(serve: Callable[..., http.server.ThreadingHTTPServer], status: int):
    assert list(registries.ask_all([Registry("the index", f"http://{address(serve())}/{status}", "X")])) == []


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "refuses: 401 as asked"), (403, "refuses: 403 as asked"), (502, "answers with 502 as asked")],
)
def test_an_answer_that_is_none_is_told(serve: Callable[..., http.server.ThreadingHTTPServer], status: int, told: str):
    assert told in asked(f"http://{address(serve())}/{status}").what


def test_the_login_in_an_address_is_used_and_never_shown(serve: Callable[..., http.server.ThreadingHTTPServer]):
    server = serve()

    fault = asked(f"http://me:secret@{address(server)}/403")

    assert server.seen == ["Basic bWU6c2VjcmV0"]  # type: ignore[attr-defined]
    assert "secret" not in str(fault)


def test_an_authority_that_is_not_trusted_is_named_with_the_way_to_trust_it(
    serve: Callable[..., http.server.ThreadingHTTPServer], certificate: Callable[[int], Path]
):
    url = f"https://{address(serve(certificate(30)))}/200"

    fault = asked(url)

    assert "TLS: the certificate of 127.0.0.1 is not trusted here: self-signed certificate" in fault.what
    assert "update-ca-certificates" in fault.mend
    assert registries.fault(Registry("it", url, "X", bundle=str(certificate(30)))) is not None, "another key"
    assert registries.fault(Registry("it", url, "X", trusted=("127.0.0.1",))) is None


def test_a_certificate_out_of_its_time_points_at_the_clock(
    serve: Callable[..., http.server.ThreadingHTTPServer], certificate: Callable[[int], Path]
):
    file = certificate(-1)

    fault = asked(f"https://{address(serve(file))}/200", bundle=str(file))

    assert "expired" in fault.what
    assert "date" in fault.mend


def test_a_server_that_speaks_no_tls_is_told(serve: Callable[..., http.server.ThreadingHTTPServer]):
    assert "TLS with 127.0.0.1 fails" in asked(f"https://{address(serve())}/200").what


def test_a_server_that_speaks_another_protocol_is_told(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        told = asked(f"http://127.0.0.1:{other.getsockname()[1]}/200").what
        thread.join()
    assert "127.0.0.1 cannot be reached: SSH-2.0" in told
    assert capsys.readouterr().err == ""


def test_who_refuses_the_connection_is_told():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))

        assert "cannot be reached" in asked(f"http://127.0.0.1:{nobody.getsockname()[1]}/200").what


def test_a_name_that_nobody_knows_is_told():
    assert "is not known to the name server" in asked("http://packages.invalid/200").what


def test_who_never_answers_is_waited_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registries, "SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        assert "no answer from 127.0.0.1 within" in asked(f"http://127.0.0.1:{silent.getsockname()[1]}/200").what


PROXIED = "http://packages.invalid/200"


def test_a_proxy_that_refuses_is_told_as_the_proxy_without_its_password(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy}")

        fault = asked(PROXIED)

    assert f"the proxy http://{proxy} fails" in fault.what
    assert "NO_PROXY" in fault.mend
    assert "secret" not in str(fault)


def test_a_proxy_that_nobody_knows_is_told_as_the_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")

    assert "the proxy http://proxy.invalid:3128 is not known to the name server" in asked(PROXIED).what


def test_a_proxy_that_asks_for_a_login_is_told(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[..., http.server.ThreadingHTTPServer]
):
    monkeypatch.setenv("https_proxy", f"http://{address(serve())}")

    assert "asks for a login (407)" in asked("https://packages.invalid/200").what


def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch, serve: Callable[..., http.server.ThreadingHTTPServer]):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert registries.fault(Registry("it", f"http://{address(serve())}/200", "X")) is None
