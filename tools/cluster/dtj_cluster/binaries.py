"""Every program the cluster is made of, from package registries only.

Go programs are built from the small pinned modules under `tools/cluster/go`, each one file or none of our own: the
rest is named by go.mod and go.sum. Everything else is a package of Debian. Nothing is built before it is asked for by
name, so a demo never pays for what only tests need (`kwok`).
"""

import dataclasses
import functools
import os
import pathlib
import re
import shutil
import subprocess

from dtj_cluster import cache
from dtj_cluster.errors import ClusterError
from dtj_cluster.progress import steps
from dtj_preflight import machine

_GO_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


@dataclasses.dataclass(frozen=True)
class GoModule:
    """A folder of `tools/cluster/go` and the programs that come out of it.

    `stamps` are link-time variables that get the version of `upstream`, all of it (`{v}`) or its first two numbers
    (`{major}`, `{minor}`). `package` is what is compiled: our own main, or one that upstream has.
    """

    name: str
    upstream: str
    programs: tuple[str, ...]
    package: str = "."
    stamps: tuple[str, ...] = ()

    @property
    def folder(self) -> pathlib.Path:
        """Where its go.mod is."""
        return machine.GO_SOURCES / self.name

    def version(self) -> str:
        """The pinned version of the upstream module, such as `v1.35.4`; `local` when the program is all ours."""
        if not self.upstream:
            return "local"
        found = re.search(
            rf"^(?:require)?\s*{re.escape(self.upstream)} (v\S+)", (self.folder / "go.mod").read_text(), re.M
        )
        if found is None:
            raise ClusterError(
                f"{self.folder / 'go.mod'} does not say which version of {self.upstream} to build",
                f"Restore the file, or run `go get {self.upstream}` there.",
            )
        return found.group(1)

    def linker_flags(self) -> str:
        """Strip symbols, and stamp the version."""
        version = self.version()
        major, minor = [*version.lstrip("v").split("."), "", ""][:2]
        stamps = (stamp.format(v=version, major=major, minor=minor) for stamp in self.stamps)
        return " ".join(["-s -w", *(f"-X {stamp}" for stamp in stamps)])


_KUBE_VERSION = "k8s.io/component-base/version.git"
GO_MODULES = (
    GoModule(
        "kube",
        "k8s.io/kubernetes",
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
        stamps=(
            f"{_KUBE_VERSION}Version={{v}}",
            f"{_KUBE_VERSION}Major={{major}}",
            f"{_KUBE_VERSION}Minor={{minor}}",
        ),
    ),
    GoModule("etcd", "go.etcd.io/etcd/server/v3", ("etcd",)),
    GoModule("pause", "", ("pause",)),
    GoModule("coredns", "github.com/coredns/coredns", ("coredns",)),
    GoModule(
        "kube-router",
        "github.com/cloudnativelabs/kube-router/v2",
        ("kube-router",),
        package="github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    ),
    GoModule("helm", "helm.sh/helm/v4", ("helm",), package="helm.sh/helm/v4/cmd/helm"),
    GoModule("kwok", "sigs.k8s.io/kwok", ("kwok",), package="sigs.k8s.io/kwok/cmd/kwok"),
    GoModule(
        "metrics-server",
        "sigs.k8s.io/metrics-server",
        ("metrics-server",),
        package="sigs.k8s.io/metrics-server/cmd/metrics-server",
    ),
)
_MODULE_OF = {program: module for module in GO_MODULES for program in module.programs}

# The Debian package of a program. It is looked for among the system's programs only: one that happens to be on PATH
# may be of another version, or work for its owner alone.
_PACKAGE_OF = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "debootstrap": "debootstrap",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "iptables-restore": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "mount": "mount",
    "umount": "mount",
    "nsenter": "util-linux",
}
# Programs that are in no such folder: where Debian puts them.
_FIXED = {"cni": (pathlib.Path("/usr/lib/cni"), "containernetworking-plugins")}
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ensure(*names: str) -> dict[str, pathlib.Path]:
    """Build, install or find the named programs; returns their paths.

    `cni` is the folder of the CNI plugins. Raises ClusterError for an unknown name, when Go is absent, or when a build
    fails.
    """
    known = _MODULE_OF.keys() | _PACKAGE_OF.keys() | _FIXED.keys()
    if unknown := sorted(set(names) - known):
        raise ClusterError(f"no such program: {', '.join(unknown)}", f"Known are {', '.join(sorted(known))}.")
    ensure_debian(*(package for package in map(_missing_package, names) if package))
    return {name: _find(name) for name in names}


def _missing_package(name: str) -> str | None:
    if name in _FIXED:
        folder, package = _FIXED[name]
        return None if folder.is_dir() else package
    if name in _MODULE_OF or _which(name):
        return None
    return _PACKAGE_OF[name]


def _find(name: str) -> pathlib.Path:
    if name in _FIXED:
        return _FIXED[name][0]
    if name in _MODULE_OF:
        return _build(_MODULE_OF[name]) / name
    found = _which(name)
    if found is None:
        raise ClusterError(
            f"{name} is not in {_SYSTEM_PATH} although Debian's {_PACKAGE_OF[name]} is installed",
            f"Run: sudo apt-get install --reinstall {_PACKAGE_OF[name]}",
        )
    return found


def _which(name: str) -> pathlib.Path | None:
    found = shutil.which(name, path=_SYSTEM_PATH)
    return pathlib.Path(found) if found else None


@functools.cache
def _go_version() -> str:
    """What `go version` says of itself, such as `go1.26.4`."""
    for wrong in machine.go(machine.go_minimum(module.name for module in GO_MODULES)):
        raise ClusterError(wrong.what, wrong.mend)
    text = subprocess.run(["go", "version"], capture_output=True, text=True, check=True, timeout=30).stdout
    return text.split()[2]


def _build(module: GoModule) -> pathlib.Path:
    """The cache folder that holds the module's programs."""
    go = _go_version()
    inputs = f"{module.version()}-{cache.key(module.folder, go, module.package, module.linker_flags())}"
    return cache.entry(
        module.name, inputs, f"{module.name} {module.version()}: compile", functools.partial(_compile, module)
    )


def _compile(module: GoModule, build: cache.Build) -> None:
    compiled = 0

    def count(line: str) -> None:
        # With -v the compiler names each package that was not in Go's own cache.
        nonlocal compiled
        if re.fullmatch(r"[\w./~-]+\n", line):
            compiled += 1
            build.step.detail = f"{compiled} packages"

    # One compiler at a time: each uses all cores, and two of them twice the memory. `nice`, since pods may be running.
    with cache.lock("go-compiler"):
        build.run(
            [
                "nice", "-n", "10", "go", "build", "-v", "-buildvcs=false", "-mod=readonly", "-trimpath",
                "-ldflags", module.linker_flags(), "-o", build.folder / module.name, module.package,
            ],
            cwd=module.folder,
            env=_GO_ENVIRONMENT,
            on_line=count,
            mend="Try again after a failed download (what was fetched is kept), make room on a full disk (`df -h`), or "
            "give a compiler that was killed more memory (it needs about 3 GB).",
        )  # fmt: skip
    for program in module.programs:
        if program != module.name:
            (build.folder / program).symlink_to(module.name)


def ensure_debian(*packages: str) -> None:
    """Install the Debian packages that are absent.

    Raises ClusterError without root or without apt, with the command to run, and when apt fails.
    """
    missing = sorted(package for package in set(packages) if not _installed(package))
    if not missing:
        return
    names = " ".join(missing)
    command = f"apt-get install --no-install-recommends {names}"
    if shutil.which("apt-get") is None:
        raise ClusterError(f"programs are missing that Debian has in: {names}", "Install your system's likes of them.")
    if os.geteuid() != 0:
        raise ClusterError(f"Debian packages are missing: {names}", f"Run: sudo {command}")
    remedy = f"See what apt says, then run: {command}"
    with cache.lock("debian") as descriptor, steps.step(f"Debian packages {names}: install") as step:
        build = cache.Build("debian", cache.root(), descriptor, step)
        for words in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            build.run(["apt-get", "-q", *words], env={"DEBIAN_FRONTEND": "noninteractive"}, mend=remedy)


def _installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return asked.stdout == "installed"
