"""What this machine must be: nothing here leaves it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dtj_preflight.faults import Fault

GO_SOURCES = Path(__file__).resolve().parents[1] / "go"
PORTS = ((6443, socket.SOCK_STREAM, "the API server"), (53, socket.SOCK_DGRAM, "the cluster's DNS"))
"""What the cluster listens on, at an address of its own: only a program that listens on every address is in the way."""
_PROBE_ADDRESS = "127.88.88.88"
# Bits of CapEff in /proc/PID/status.
_CAPABILITIES = {"CAP_CHOWN": 0, "CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}
_CONTROLLERS = {"cpu", "cpuset", "memory", "pids"}
_CGROUPS = Path("/sys/fs/cgroup")
_PRIVILEGES = "Run it as root on the machine; in a container give it --privileged. Or use CLUSTER=kind with Docker."


def linux() -> Iterator[Fault]:
    """The one system that the cluster's programs run on."""
    if platform.system() != "Linux":
        yield Fault(
            f"this is {platform.system()}; the cluster's nodes are Linux namespaces",
            "Run it on Linux, or use CLUSTER=kind with Docker.",
        )


def for_nodes() -> Iterator[Fault]:
    """What real nodes need: root with its capabilities, overlay, control groups that can be written."""
    missing = missing_capabilities(Path("/proc/self/status").read_text())
    if os.geteuid() != 0:
        yield Fault(f"this is user {os.geteuid()}; real nodes need root", _PRIVILEGES)
    elif missing:
        yield Fault(
            f"this process lacks {', '.join(missing)}, which real nodes need",
            f"{_PRIVILEGES} `cluster up --control-plane-only` needs none.",
        )
    else:
        yield from control_groups()
    if "overlay" not in Path("/proc/filesystems").read_text():
        yield Fault("the kernel has no overlay file system, which containerd needs", "Load it: modprobe overlay")


def missing_capabilities(status: str) -> list[str]:
    """The needed capabilities that a /proc/PID/status text does not show as effective."""
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def hierarchies() -> list[Path]:
    """The mounted hierarchies of control groups: one with version 2, one a controller with version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    if not _CGROUPS.is_dir():
        return []
    return sorted(
        entry
        for entry in _CGROUPS.iterdir()
        if entry.is_dir() and not entry.is_symlink() and (entry / "cgroup.procs").exists()
    )


def control_groups() -> Iterator[Fault]:
    """The controllers that a kubelet needs, in hierarchies in which groups can be made."""
    found = hierarchies()
    if found == [_CGROUPS]:
        controllers = set((_CGROUPS / "cgroup.controllers").read_text().split())
    else:
        controllers = {name for folder in found for name in folder.name.split(",")}
    if missing := sorted(_CONTROLLERS - controllers):
        yield Fault(
            f"control groups without {', '.join(missing)} at {_CGROUPS}, which the kubelet needs",
            f"Mount them (`mount -t cgroup2 none {_CGROUPS}` or your system's package), or run where they are.",
        )
        return
    for folder in found:
        probe = folder / f"dtj-preflight-{os.getpid()}"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            yield Fault(
                f"{folder}: no control group can be made: {error.strerror}",
                f"mount -o remount,rw {folder}; in a container: --privileged --cgroupns=private",
            )
            return


def ports() -> Iterator[Fault]:
    """The ports that somebody has taken on every address of the machine."""
    for port, kind, purpose in PORTS:
        with socket.socket(type=kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_PROBE_ADDRESS, port))
            except PermissionError:
                continue  # Told as the missing root.
            except OSError as error:
                option = "t" if kind is socket.SOCK_STREAM else "u"
                yield Fault(
                    f"port {port}, needed for {purpose}, cannot be had: {error.strerror}",
                    f"See who listens there on every address with `ss -ln{option}p 'sport = :{port}'`, and stop it.",
                )


def disk(folder: Path, gigabytes: float, purpose: str) -> Iterator[Fault]:
    """Room for what is about to be made below ``folder``."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free < gigabytes:
        yield Fault(
            f"{there} has {free:.1f} GB free; {purpose} takes {gigabytes:.0f} GB",
            f"Make room (`du -xhd2 {there} | sort -h | tail`), or set XDG_CACHE_HOME to a larger disk.",
        )


def go_minimum(modules: Iterable[str]) -> tuple[int, ...]:
    """The oldest Go that compiles these modules, by what their go.mod say."""
    texts = ((GO_SOURCES / module / "go.mod").read_text() for module in modules)
    found = (re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?", text, re.M) for text in texts)
    return max(tuple(int(part or 0) for part in one.groups()) for one in found if one)


def go(minimum: tuple[int, ...]) -> Iterator[Fault]:
    """The compiler of the cluster's programs."""
    wanted = ".".join(map(str, minimum))
    program = shutil.which("go")
    if program is None:
        usual = Path("/usr/local/go/bin/go")
        mend = f"export PATH=$PATH:{usual.parent}" if usual.exists() else f"Install Go {wanted} from go.dev/dl."
        yield Fault(f"Go {wanted} or newer is needed, and there is no `go` on PATH", mend)
        return
    try:
        told = subprocess.run([program, "version"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield Fault(f"`{program} version` failed: {error}", f"Install Go {wanted} from go.dev/dl.")
        return
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", told)
    if found is None or tuple(int(part or 0) for part in found.groups()) < minimum:
        yield Fault(
            f"Go {wanted} or newer is needed, and {program} is `{told.strip()}`",
            f"Install Go {wanted} from go.dev/dl and put it first on PATH.",
        )


PACKAGES: dict[str, Callable[[], bool]] = {
    "make": lambda: shutil.which("make") is not None,
    "python3-venv": lambda: _python_can("import ensurepip, venv; ensurepip.version()"),
    "ca-certificates": lambda: (
        bool(os.environ.get("SSL_CERT_FILE")) or Path("/etc/ssl/certs/ca-certificates.crt").exists()
    ),
}
"""Debian's packages that are asked for before any program of ours runs, and how one sees that they are there."""


def _python_can(program: str) -> bool:
    # The one that uv is fetched with, which need not be the one that runs this.
    python = shutil.which("python3")
    return python is not None and (
        subprocess.run([python, "-c", program], capture_output=True, timeout=30, check=False).returncode == 0
    )


def packages(run: Callable[[list[str]], int], say: Callable[[str], None]) -> Iterator[Fault]:
    """Install those of `PACKAGES` that are absent, where root and apt can; ``run`` returns a command's exit status."""
    missing = [name for name, present in PACKAGES.items() if not present()]
    if not missing:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        yield Fault(f"missing: {', '.join(missing)}; and there is no apt", "Install your system's likes of them.")
    elif os.geteuid() != 0:
        yield Fault(f"missing: {', '.join(missing)}", f"sudo {command}")
    else:
        say(f"installing what is missing: {command}")
        for words in (["apt-get", "-q", "update"], ["env", "DEBIAN_FRONTEND=noninteractive", *command.split()]):
            if run(words) != 0:
                yield Fault(
                    f"missing: {', '.join(missing)}; and `{' '.join(words)}` failed", f"See above, then: {command}"
                )
                return
        if still := [name for name in missing if not PACKAGES[name]()]:
            python, path = shutil.which("python3"), os.environ["PATH"]
            yield Fault(
                f"{', '.join(still)} was installed, and is not found by {python} on {path}",
                "Put the system's programs first: export PATH=/usr/bin:/bin:$PATH",
            )


def cache() -> Path:
    """Where everything built or fetched is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dtj"


def images_made(kind: str) -> bool:
    """True when the cache has an image whose tag begins with ``kind``."""
    with contextlib.suppress(OSError):
        return f'"{kind}-' in (cache() / "cluster" / "images" / "index.json").read_text()
    return False
