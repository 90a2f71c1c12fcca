"""All of the preflight: when it asks nobody, how it tells its faults, and which command begins with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import program

from dtj_preflight import __main__ as preflight
from dtj_preflight import machine, registries
from dtj_preflight.faults import Fault
from dtj_preflight.registries import Registry

ROOT = Path(__file__).parents[3]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked, of a network that is not there."""
    names: list[str] = []

    def ask_all(wanted: Iterator[Registry]) -> Iterator[Fault]:
        for one in wanted:
            names.append(one.name)
            yield Fault(f"{one.name}: no network", "Get one.")

    monkeypatch.setattr(registries, "ask_all", ask_all)
    monkeypatch.setattr(machine, "disk", lambda *_: iter(()))
    monkeypatch.setattr(machine, "ports", lambda: iter(()))
    monkeypatch.setattr(machine, "for_nodes", lambda: iter(()))
    return names


@pytest.mark.parametrize(
    ("need", "wanted"),
    [
        ("environment", ["the package index", "the packages of uv.lock"]),
        ("control-plane", ["the package index", "the packages of uv.lock", "the Go module proxy"]),
    ],
)
def test_a_fresh_machine_asks_what_it_will_fetch_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: list[str], need: str, wanted: list[str]
):
    program(tmp_path / "bin" / "go", "#!/bin/sh\n[ $1 = env ] && echo https://modules.example || echo go1.99.0\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    assert preflight.main([need]) == 1
    assert network == wanted


def test_a_machine_that_has_everything_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: list[str], capsys: pytest.CaptureFixture[str]
):
    cache = tmp_path / "cache" / "dtj"
    program(cache / "uv-1" / "bin" / "uv", "")
    monkeypatch.setattr(registries, "CHECKOUT", tmp_path / "checkout")
    program(tmp_path / "checkout" / ".venv" / "bin" / "pytest", "")

    assert preflight.main(["environment"]) == 0
    assert network == []
    assert "this machine has what the environment needs" in capsys.readouterr().err


@pytest.mark.parametrize(("absent", "asked"), [("kwok", []), ("metrics-server", []), ("helm", ["the Go module proxy"])])
def test_a_machine_that_can_run_a_demo_needs_no_module_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: list[str], absent: str, asked: list[str]
):
    monkeypatch.setattr(preflight, "_python_is_here", lambda: True)
    monkeypatch.setattr(preflight, "_debian_is_here", lambda: True)
    program(tmp_path / "bin" / "go", "#!/bin/sh\n[ $1 = env ] && echo https://modules.example || echo go1.99.0\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for module in preflight.MODULES["nodes"]:
        if module != absent:
            (tmp_path / "cache" / "dtj" / "cluster" / f"{module}-v1").mkdir(parents=True)

    list(preflight.faults("nodes"))

    assert network == asked


def test_faults_are_all_told_each_with_what_mends_it_and_may_be_passed_over(
    monkeypatch: pytest.MonkeyPatch, network: list[str], capsys: pytest.CaptureFixture[str]
):
    assert preflight.main(["environment"]) == 1
    told = capsys.readouterr().err.splitlines()
    monkeypatch.setenv("PREFLIGHT", "warn")

    assert preflight.main(["environment"]) == 0
    assert capsys.readouterr().err.splitlines() == told
    assert told == [
        "preflight: the package index: no network", "  mend: Get one.",
        "preflight: the packages of uv.lock: no network", "  mend: Get one.",
    ]  # fmt: skip


@pytest.mark.parametrize("version", [None, "3.9.2"])
def test_a_python_that_is_absent_or_too_old_is_told_without_any(tmp_path: Path, version: str | None):
    for name in ("sh", "dirname"):
        (tmp_path / name).symlink_to(Path("/bin") / name)
    if version:
        program(tmp_path / "python3", f"#!/bin/sh\n[ $1 = --version ] && echo Python {version}\n[ $1 = --version ]\n")

    told = subprocess.run(
        [ROOT / "tools" / "preflight", "nodes"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )

    assert told.returncode == 1
    assert "Python 3.11 or newer is needed" in told.stderr
    assert (version or "not found") in told.stderr
    assert "mend: apt-get install python3" in told.stderr


@pytest.mark.parametrize(
    ("command", "need"),
    [
        ("setup", "environment"),
        ("lint", "environment"),
        ("test-unit", "environment"),
        ("test-cluster", "control-plane"),
        ("test-e2e", "nodes"),
        ("test", "nodes"),
        ("cluster", "nodes"),
        ("demo", "nodes"),
        ("demo CLUSTER=local", "nodes"),
        ("demo CLUSTER=kind", "environment"),
        ("demo CLUSTER=existing", "environment"),
    ],
)
def test_every_command_begins_with_it(command: str, need: str):
    told = subprocess.run(
        ["make", "--no-print-directory", "-n", *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert told.stdout.splitlines()[0] == f"tools/preflight {need}"
