"""`tools/preflight NEED`: environment, control-plane or nodes, each with all before it.

Exit status 0, or 1 with faults. PREFLIGHT=warn tells them and goes on: for a network that works in a way that is not
seen here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from dtj_preflight import machine, registries
from dtj_preflight.faults import Fault

TITLES = {"environment": "the environment", "control-plane": "a control plane", "nodes": "a cluster"}
NEEDS = tuple(TITLES)
MODULES = {
    "control-plane": ("kube", "etcd", "kwok", "helm"),
    "nodes": ("kube", "etcd", "kwok", "coredns", "kube-router", "helm", "metrics-server", "pause"),
}
"""What may be compiled."""
NOT_IN_EVERY_RUN = {"kwok", "metrics-server"}
"""What only some tests ask for: a machine without them, and without a network, still runs a demo."""
_SYSTEM_PROGRAMS = ("containerd", "runc", "buildah", "skopeo", "debootstrap", "iptables", "ipset", "conntrack")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check; returns the exit status."""
    parser = argparse.ArgumentParser(prog="preflight", description="What must hold before anything is made.")
    parser.add_argument("need", choices=NEEDS)
    need = parser.parse_args(arguments).need
    began = time.monotonic()
    found = list(faults(need))
    for one in found:
        print(f"preflight: {one}", file=sys.stderr)
    if found:
        return 0 if os.environ.get("PREFLIGHT") == "warn" else 1
    print(f"preflight: this machine has what {TITLES[need]} needs ({time.monotonic() - began:.1f} s)", file=sys.stderr)
    return 0


def faults(need: str) -> Iterator[Fault]:
    """All that is wanting for ``need``; what can be installed by apt is installed on the way."""
    level = NEEDS.index(need)
    if level >= 1 and (wrong := list(machine.linux())):
        yield from wrong
        return
    yield from machine.packages(_run, lambda text: print(f"preflight: {text}", file=sys.stderr))
    cold = {"index": not _python_is_here(), "go": level >= 1 and not _programs_are_here(need)}
    cold["debian"] = level >= 2 and not _debian_is_here()
    if level >= 2:
        yield from machine.for_nodes()
        yield from machine.ports()
        if shutil.which("apt-get") is None:
            yield Fault("there is no apt-get: containerd and others come from Debian's packages", "Use CLUSTER=kind.")
        trainer = machine.images_made("trainer")
        yield from machine.disk(machine.cache(), 5 if trainer else 30, "a cluster with its images")
    else:
        yield from machine.disk(machine.cache(), 10 if cold["index"] else 1, "the environment")
    if level >= 1:
        yield from machine.go(machine.go_minimum(MODULES[need]))
    yield from registries.ask_all(_registries(need, cold))


def _registries(need: str, cold: dict[str, bool]) -> Iterator[registries.Registry]:
    if cold["index"]:
        yield from registries.python_packages()
    if cold["go"]:
        yield from registries.go_modules(MODULES[need])
    if cold["debian"]:
        yield from registries.debian()


def _python_is_here() -> bool:
    """True when uv was made and fetched what an environment is made of: a new lock file may still ask for more."""
    uv = next(machine.cache().glob("uv-*/bin/uv"), None)
    environment = registries.CHECKOUT / ".venv" / "bin" / "pytest"
    return uv is not None and environment.exists()


def _programs_are_here(need: str) -> bool:
    made = machine.cache() / "cluster"
    return all(any(made.glob(f"{module}-*")) for module in MODULES[need] if module not in NOT_IN_EVERY_RUN)


def _debian_is_here() -> bool:
    return machine.images_made("base") and all(shutil.which(name, path=_SYSTEM_PATH) for name in _SYSTEM_PROGRAMS)


def _run(words: list[str]) -> int:
    return subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
