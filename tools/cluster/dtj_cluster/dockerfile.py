"""Building the repository's Dockerfiles without a Docker engine: buildah, in a store of its own in the cache.

The build sees the package index as this machine does: uv, its settings, its certificates and its cache are mounted
below /run for the time of the build, and nothing of them gets into a layer. So the wheels that the checkout's
environment was made from are not downloaded again, and the machine's own certificate authority stays on the machine.
"""

import os
import pathlib
import shlex
import shutil
import subprocess

from dtj_cluster import binaries, cache, oci
from dtj_cluster.errors import ClusterError

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
DOCKERFILES = {"operator": CHECKOUT / "Dockerfile", "trainer": CHECKOUT / "trainer_image" / "Dockerfile"}
# What the Dockerfiles copy; .dockerignore lets nothing else through.
_CONTEXT = ("LICENSE", "README.md", "pyproject.toml", "uv.lock", "operator", "tools/docker", "trainer_image")
_MOUNT = "/run/build"
_UV_CACHE = "/run/uv-cache"
# Settings that describe this machine's Python rather than the way to the package index.
_NOT_PASSED = {"UV", "UV_CACHE_DIR", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "UV_LINK_MODE", "UV_SYSTEM_PYTHON"}


def tag(name: str, base: str) -> str:
    """The tag in the layout: a hash of the base and of every file that the image is made of."""
    return f"{name}-{cache.key(base, DOCKERFILES[name], *(CHECKOUT / part for part in _CONTEXT))}"


def build(name: str, base: str, layout: oci.Layout, work: cache.Build) -> None:
    """Build the image called `name` on the base with that tag, and put it into the layout."""
    store = _Store(work, binaries.ensure("buildah")["buildah"])
    # A build that was killed leaves its container behind, with a copy of all that was in it.
    store.run("rm", "--all")
    base_name = f"localhost/dtj-{base}"
    if not store.has(base_name):
        store.run("pull", f"oci:{layout.path}:{base}")
        store.run("tag", f"localhost{layout.path}:{base}", base_name)
    image = f"localhost/dtj-{name}"
    store.run(
        "build",
        "--layers",
        "--isolation=chroot",
        "--pull=never",
        f"--build-arg=BASE_IMAGE={base_name}",
        f"--volume={_machine(work.folder)}:{_MOUNT}:ro",
        f"--volume={_uv_cache()}:{_UV_CACHE}",
        f"--file={DOCKERFILES[name]}",
        f"--tag={image}",
        str(CHECKOUT),
    )
    work.step.detail = "copy to the image layout"
    store.run("push", "--disable-compression", image, f"oci:{layout.path}:{tag(name, base)}")
    store.run("rmi", "--prune", "--force")
    work.step.detail = ""


class _Store:
    """Calls of buildah on our own store."""

    def __init__(self, work: cache.Build, program: pathlib.Path) -> None:
        self._work = work
        self._command = [
            str(program),
            f"--root={cache.root() / 'buildah'}",
            "--runroot=/run/dtj-buildah",
            "--storage-driver=overlay",
        ]

    def has(self, image: str) -> bool:
        """True when the store knows the image."""
        return subprocess.run([*self._command, "inspect", "--type=image", image], capture_output=True).returncode == 0

    def run(self, *words: str) -> None:
        """Run one command of buildah; the line it prints last is the step's detail."""
        self._work.run(
            ["nice", "-n", "10", *self._command, *words],
            on_line=self._show,
            mend="Look at the log and at `df -h` (the trainer's image takes about 30 GB while it is built), then run the "
            "same command again: the layers that were finished are kept.",
        )

    def _show(self, line: str) -> None:
        if line.strip():
            self._work.step.detail = line.strip()[:100]


def _machine(folder: pathlib.Path) -> pathlib.Path:
    """A folder with uv and this machine's way to the package index, to be mounted into the build."""
    made = folder / "machine"
    made.mkdir()
    shutil.copy2(_uv(), made / "uv.program")
    settings = {key: value for key, value in os.environ.items() if key.startswith("UV_") and key not in _NOT_PASSED}
    settings["UV_CACHE_DIR"] = _UV_CACHE
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates:
        shutil.copy(certificates, made / "certificates.pem")
        settings["SSL_CERT_FILE"] = f"{_MOUNT}/certificates.pem"
    configuration = (
        pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or pathlib.Path.home() / ".config") / "uv" / "uv.toml"
    )
    if configuration.is_file():
        copy = made / "config" / "uv" / "uv.toml"
        copy.parent.mkdir(parents=True)
        shutil.copy(configuration, copy)
        settings["XDG_CONFIG_HOME"] = f"{_MOUNT}/config"
    exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in settings.items())
    wrapper = made / "uv"
    wrapper.write_text(f'#!/bin/sh\n{exports}exec {_MOUNT}/uv.program "$@"\n')
    wrapper.chmod(0o755)
    return made


def _uv() -> pathlib.Path:
    """The real program: what is on PATH may be a shim that works only here."""
    return pathlib.Path(os.environ.get("UV") or _ask_uv("run", "--no-project", "--", "printenv", "UV"))


def _uv_cache() -> pathlib.Path:
    return pathlib.Path(_ask_uv("cache", "dir"))


def _ask_uv(*words: str) -> str:
    try:
        asked = subprocess.run(["uv", *words], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(
            f"images are built with uv, and `uv {' '.join(words)}` failed: {error}", "Install uv."
        ) from error
    return asked.stdout.strip()
