"""Which registries the preflight asks: those that pip, Go and apt would."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import program

from dtj_preflight import registries
from dtj_preflight.registries import Registry


def index() -> Registry:
    return next(one for one in registries.python_packages() if one.name == "the package index")


def test_the_index_is_where_pip_is_told_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_the_lock = index().url
    file = tmp_path / "config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[global]\nindex-url = https://in-file.example/simple/\ntrusted-host = a.example b.example\n")
    in_a_file = index()
    monkeypatch.setenv("PIP_INDEX_URL", "https://in-variable.example/simple")

    assert in_the_lock.endswith("/simple/uv/")
    assert in_a_file.url == "https://in-file.example/simple/uv/"
    assert in_a_file.trusted == ("a.example", "b.example")
    assert index().url == "https://in-variable.example/simple/uv/"


def test_no_index_is_asked_where_pip_uses_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    assert [one.name for one in registries.python_packages()] == ["the packages of uv.lock"]


@pytest.mark.parametrize(
    ("setting", "asked"),
    [
        ("https://modules.example", "https://modules.example/go.etcd.io/"),
        ("https://modules.example/,direct", "https://modules.example/go.etcd.io/"),
        ("file:///modules|https://other.example", "file:///modules/go.etcd.io/"),
        ("direct", None),
        ("off", None),
    ],
)
def test_the_module_proxy_is_the_one_that_go_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, asked: str | None
):
    program(tmp_path / "bin" / "go", f"#!/bin/sh\necho '{setting}'\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    found = [one.url for one in registries.go_modules(["etcd"])]

    assert len(found) == (asked is not None)
    assert all(url.startswith(asked) and url.endswith(".mod") for url in found if asked)


@pytest.mark.parametrize(
    ("proxy", "used"),
    [("", ""), ("PROXY='http://proxy.example:3142'", "http://proxy.example:3142"), ("PROXY='DIRECT'", "")],
)
def test_the_mirror_is_apts_own_for_the_running_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, used: str
):
    release = next(
        line.partition("=")[2]
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME")
    )
    program(
        tmp_path / "apt-get",
        f"#!/bin/sh\necho 'http://third.example/x other'\necho 'http://one.example/debian {release}'\n",
    )
    program(tmp_path / "apt-config", f'#!/bin/sh\necho "{proxy}"\n')
    monkeypatch.setenv("PATH", str(tmp_path))

    (one,) = registries.debian()

    assert (one.url, one.proxy) == (f"http://one.example/debian/dists/{release}/InRelease", used)
