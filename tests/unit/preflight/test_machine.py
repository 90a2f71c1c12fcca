"""What the preflight finds wanting in the machine, in which words, with which command that mends it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from programs import program

from dtj_preflight import __main__ as preflight
from dtj_preflight import machine
from dtj_preflight.faults import Fault

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ("000001ffffffffff", []),
        ("000001ffffffefff", ["CAP_NET_ADMIN"]),
        ("0000000000000000", ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_ADMIN", "CAP_MKNOD"]),
    ],
)
def test_missing_capabilities_are_named(effective: str, missing: list[str]):
    assert machine.missing_capabilities(f"Name:\tx\nCapEff:\t{effective}\nCapBnd:\t0\n") == missing


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert "this is user 1000; real nodes need root" in [fault.what for fault in machine.for_nodes()]


def control_groups(root: Path, *names: str, version: int) -> None:
    for name in names if version == 1 else ():
        (root / name).mkdir(parents=True)
        (root / name / "cgroup.procs").touch()
    if version == 2:
        root.mkdir()
        (root / "cgroup.controllers").write_text(" ".join(names))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["cpu", "cpuset", "memory", "pids"], None),
        (["cpu", "pids"], "cpuset, memory"),
        ([], "cpu, cpuset, memory, pids"),
    ],
)
def test_control_groups_that_a_kubelet_needs_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], missing: str | None, version: int
):
    control_groups(tmp_path / "cgroup", *names, version=version)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")

    told = [fault.what for fault in machine.control_groups()]

    assert told == (
        []
        if missing is None
        else [f"control groups without {missing} at {tmp_path / 'cgroup'}, which the kubelet needs"]
    )


def test_control_groups_that_cannot_be_written_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    control_groups(tmp_path / "cgroup", "cpu", "cpuset", "memory", "pids", version=2)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "cgroup" / f"dtj-preflight-{os.getpid()}").touch()  # Whatever the reason is: mkdir fails.

    (fault,) = machine.control_groups()

    assert "no control group can be made" in fault.what
    assert "remount,rw" in fault.mend


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_is_taken_by_who_listens_on_every_address_and_not_by_one_elsewhere(
    monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind
):
    def taken_at(address: str) -> list[Fault]:
        with socket.socket(type=kind) as theirs:
            theirs.bind((address, 0))
            if kind is socket.SOCK_STREAM:
                theirs.listen()
            monkeypatch.setattr(machine, "PORTS", ((theirs.getsockname()[1], kind, "the test"),))
            return list(machine.ports())

    assert taken_at("127.0.0.1") == []
    (fault,) = taken_at("0.0.0.0")
    assert "needed for the test, cannot be had: Address already in use" in fault.what
    assert "ss -ln" in fault.mend


def test_a_disk_without_room_is_told_with_the_folder_that_is_there(tmp_path: Path):
    (fault,) = machine.disk(tmp_path / "not" / "yet", 1e9, "it")

    assert fault.what.startswith(f"{tmp_path} has ")
    assert list(machine.disk(tmp_path / "not" / "yet", 0, "it")) == []


GO = [
    ("#!/bin/sh\necho go version go1.26.4 linux/amd64\n", None),
    ("#!/bin/sh\necho go version go1.27 linux/amd64\n", None),
    ("#!/bin/sh\necho go version go1.26 linux/amd64\n", "Go 1.26.4 or newer is needed, and"),
    ("#!/bin/sh\necho go version go1.26.3 linux/amd64\n", "Go 1.26.4 or newer is needed, and"),
    ("#!/bin/sh\necho what\n", "is `what`"),
    ("#!/bin/sh\nexit 1\n", "version` failed"),
    (None, "there is no `go` on PATH"),
]


@pytest.mark.parametrize(("script", "told"), GO)
def test_go_is_as_new_as_the_newest_of_the_modules_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, told: str | None
):
    program(tmp_path / "bin" / "go", script) if script else (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    found = [fault.what for fault in machine.go((1, 26, 4))]

    assert len(found) == (told is not None)
    assert all(told in one for one in found if told)


def test_what_readme_and_docs_say_of_go_is_what_the_modules_ask():
    wanted = ".".join(map(str, machine.go_minimum(preflight.MODULES["nodes"])))

    assert all((machine.GO_SOURCES / name).is_dir() for name in preflight.MODULES["nodes"])
    for page in ("README.md", "docs/getting-started.md", "docs/local-cluster.md", "tools/cluster/README.md"):
        assert f"Go {wanted}" in (ROOT / page).read_text(), page


@pytest.mark.parametrize(
    ("root", "apt", "status", "ran", "mend"),
    [
        (True, True, 0, ["apt-get -q update", "env DEBIAN_FRONTEND=noninteractive apt-get install -y "
                         "--no-install-recommends make python3-venv"], None),
        (True, True, 100, ["apt-get -q update"], "apt-get install -y --no-install-recommends make python3-venv"),
        (False, True, 0, [], "sudo apt-get install -y --no-install-recommends make python3-venv"),
        (True, False, 0, [], "Install your system's likes of them."),
    ],
)  # fmt: skip
def test_what_debian_has_is_installed_and_told_or_the_command_is_given(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    root: bool,
    apt: bool,
    status: int,
    ran: list[str],
    mend: str | None,
):
    there = {"there"}
    packages = {name: lambda name=name: name in there for name in ("make", "there", "python3-venv")}
    monkeypatch.setattr(machine, "PACKAGES", packages)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    if apt:
        program(tmp_path / "apt-get", "#!/bin/sh\n")
    said: list[str] = []
    calls: list[str] = []

    def run(words: list[str]) -> int:
        calls.append(" ".join(words))
        there.update(words)
        return status

    faults = list(machine.packages(run, said.append))

    assert calls == ran
    assert len(said) == bool(ran)
    assert [mend in fault.mend for fault in faults if mend] == ([True] if mend else [])


def test_a_machine_whose_only_python_has_another_name_lacks_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert not machine.PACKAGES["python3-venv"]()


def test_a_package_that_another_python_does_not_see_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program(tmp_path / "python3", "#!/bin/sh\nexit 1\n")
    program(tmp_path / "apt-get", "#!/bin/sh\n")
    monkeypatch.setattr(machine, "PACKAGES", {"python3-venv": lambda: machine._python_can("import ensurepip")})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))

    (fault,) = machine.packages(lambda words: 0, lambda text: None)

    assert fault.what == f"python3-venv was installed, and is not found by {tmp_path / 'python3'} on {tmp_path}"
