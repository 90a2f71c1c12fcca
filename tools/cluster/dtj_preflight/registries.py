"""Whether the places that packages come from answer: each is asked once, all side by side, for 5 seconds at most.

Each is asked as its tool would ask: at the address that the tool's own settings name, for a file that the tool will
fetch. Nothing is asked of a registry from which everything is here already, so a machine without a network works on
what it has.
"""

from __future__ import annotations

import base64
import configparser
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dtj_preflight.faults import Fault

SECONDS = 5.0
CHECKOUT = Path(__file__).resolve().parents[3]
_TRUST = (
    "Put the authority of your network into /usr/local/share/ca-certificates/NAME.crt and run update-ca-certificates, "
    "or name a bundle that has it: export SSL_CERT_FILE=FILE PIP_CERT=FILE"
)


@dataclass(frozen=True)
class Registry:
    """``url`` is fetched to see whether ``name`` answers; ``setting`` is where another address is set."""

    name: str
    url: str
    setting: str
    proxy: str = ""
    bundle: str = ""
    trusted: tuple[str, ...] = ()
    """Hosts whose certificates the tool was told not to look at."""


def ask_all(registries: Iterable[Registry]) -> Iterator[Fault]:
    """One fault for each that does not answer."""
    found: dict[Registry, Fault | None] = {}

    def ask(one: Registry) -> None:
        found[one] = fault(one)

    asked = list(dict.fromkeys(registries))
    # A name server that is silent holds a thread longer than any timeout of ours: such a thread is left behind.
    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 1)
    for one in asked:
        answer = found.get(
            one, Fault(f"{one.name}: no answer from {_host(one.url)} within {SECONDS:.0f} s", _network(one))
        )
        if answer is not None:
            yield answer


def fault(registry: Registry) -> Fault | None:
    """What is wrong with a registry, None when it answers."""
    name, host = registry.name, _host(registry.url)
    proxy = registry.proxy or _proxy(registry.url)
    via = f" through the proxy {_without_password(proxy)}" if proxy else ""
    try:
        _fetch(registry, proxy)
    except urllib.error.HTTPError as error:
        if error.code == 407:
            return Fault(f"{name}: the proxy {_without_password(proxy)} asks for a login (407)", _proxy_mend(host))
        if error.code in (401, 403):
            return Fault(
                f"{name}: {host} refuses{via}: {error.code} {error.reason}", f"Set {registry.setting} with your login."
            )
        return (
            Fault(f"{name}: {host} answers{via} with {error.code} {error.reason}", _network(registry))
            if error.code >= 500
            else None
        )
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _named(registry, proxy, via, error.reason if isinstance(error, urllib.error.URLError) else error)
    return None


def _named(registry: Registry, proxy: str, via: str, error: object) -> Fault:
    name, host = registry.name, _host(registry.url)
    if isinstance(error, ssl.SSLCertVerificationError):
        mend = "Set this machine's clock (`date`)." if error.verify_code in (9, 10) else _TRUST
        return Fault(f"{name}: TLS: the certificate of {host}{via} is not trusted here: {error.verify_message}", mend)
    if isinstance(error, ssl.SSLError):
        return Fault(f"{name}: TLS with {host}{via} fails: {error.reason or error}", _TRUST)
    if proxy:
        told = "is not known to the name server" if isinstance(error, socket.gaierror) else f"fails: {error}"
        if "407" in str(error):
            told = "asks for a login (407)"
        return Fault(f"{name}: the proxy {_without_password(proxy)} {told}", _proxy_mend(host))
    if isinstance(error, socket.gaierror):
        return Fault(f"{name}: the name {host} is not known to the name server: {error.strerror}", _network(registry))
    if isinstance(error, TimeoutError):
        return Fault(f"{name}: no answer from {host} within {SECONDS:.0f} s", _network(registry))
    return Fault(f"{name}: {host} cannot be reached: {error}", _network(registry))


def _fetch(registry: Registry, proxy: str) -> None:
    if registry.url.startswith("file:"):
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(registry.url).path))
        if not path.exists():
            raise OSError(f"{path} does not exist")
        return
    context = ssl.create_default_context(cafile=registry.bundle or None)
    if registry.bundle:
        context.load_default_certs()
    if _host(registry.url) in registry.trusted:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    scheme = urllib.parse.urlsplit(registry.url).scheme
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({scheme: proxy} if proxy else {}), urllib.request.HTTPSHandler(context=context)
    )
    request = urllib.request.Request(_without_password(registry.url), method="HEAD")
    login = urllib.parse.urlsplit(registry.url)
    if login.username:
        words = f"{urllib.parse.unquote(login.username)}:{urllib.parse.unquote(login.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(words.encode()).decode()}")
    opener.open(request, timeout=SECONDS).close()


def _proxy(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all") or ""


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _proxy_mend(host: str) -> str:
    return f"Correct HTTPS_PROXY and HTTP_PROXY, unset them, or add {host} to NO_PROXY."


def _network(registry: Registry) -> str:
    see = f"curl -v {_without_password(registry.url)}"
    return f"See `{see}`; behind a proxy set HTTPS_PROXY; for a mirror set {registry.setting}."


def python_packages() -> Iterator[Registry]:
    """Where pip finds uv, and where the files of uv.lock lie."""
    lock = (CHECKOUT / "uv.lock").read_text()
    index, wheel = (re.search(pattern, lock) for pattern in (r'registry = "(http[^"]+)"', r'\{ url = "(http[^"]+)"'))
    base = _pip_setting("index-url") or (index[1] if index else "")
    if base and not _pip_setting("no-index"):
        trusted = tuple(_pip_setting("trusted-host").split())
        url = f"{base.rstrip('/')}/uv/"
        yield Registry("the package index", url, "PIP_INDEX_URL", bundle=_pip_setting("cert"), trusted=trusted)
    if wheel:
        # uv takes each file from where the lock file says that it is, whatever index is set.
        trusted = tuple(os.environ.get("UV_INSECURE_HOST", "").split())
        yield Registry("the packages of uv.lock", wheel[1], "UV_DEFAULT_INDEX and lock anew", trusted=trusted)


def _pip_setting(name: str) -> str:
    """One of pip's settings: by its variable, else from its files; empty when there is none."""
    if value := os.environ.get(f"PIP_{name.upper().replace('-', '_')}"):
        return value
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    files = [Path("/etc/pip.conf"), Path.home() / ".pip" / "pip.conf", home / "pip" / "pip.conf"]
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([*files, os.environ.get("PIP_CONFIG_FILE") or os.devnull])
    except configparser.Error:
        return ""  # pip itself says what is wrong with its file.
    return next((parser[part][name] for part in ("install", "global") if parser.has_option(part, name)), "")


def go_modules(modules: Iterable[str]) -> Iterator[Registry]:
    """The module proxy, asked for a module that is compiled; nothing where Go fetches from the sources directly."""
    program = shutil.which("go")
    if program is None:
        return
    told = subprocess.run([program, "env", "GOPROXY"], capture_output=True, text=True, timeout=5, check=False).stdout
    first = re.split(r"[,|]", told.strip())[0]
    text = (CHECKOUT / "tools" / "cluster" / "go" / next(iter(modules)) / "go.mod").read_text()
    module = re.search(r"^(?:require)?\s*([\w./-]+) (v\S+)", text, re.M)
    if first not in ("", "direct", "off") and module is not None:
        yield Registry("the Go module proxy", f"{first.rstrip('/')}/{module[1]}/@v/{module[2]}.mod", "GOPROXY")


def debian() -> Iterator[Registry]:
    """The mirror of the running system that apt is configured with."""
    asked = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"]
    told = _told(asked).splitlines()
    release = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.M)
    sites = [line.split() for line in told if release is None or line.endswith(f" {release[1]}")]
    if sites:
        site, name = sites[0]
        scheme = urllib.parse.urlsplit(site).scheme
        shown = _told(["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"])
        proxy = shown.partition("=")[2].strip().strip("'")
        yield Registry(
            "apt's mirror",
            f"{site}/dists/{name}/InRelease",
            "/etc/apt/sources.list",
            "" if proxy == "DIRECT" else proxy,
        )


def _told(words: list[str]) -> str:
    if shutil.which(words[0]) is None:
        return ""
    return subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout
