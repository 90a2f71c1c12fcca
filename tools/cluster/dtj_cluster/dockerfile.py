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
# What the Dockerfiles copy; .dockerignore lets nothing else through, such as the caches of tools that lie beside.
_CONTEXT = (
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "uv.lock",
    "operator/dtj_api",
    "operator/dtj_operator",
    "tools/docker",
    "trainer_image/dtj",
    "trainer_image/dtj_trainer",
)
_MOUNT = "/run/build"
_RUN_ROOT = "/run/dtj-buildah"
_UV_CACHE = "/run/uv-cache"
# Settings that describe this machine's Python rather than the way to the package index.
_NOT_PASSED = {"UV", "UV_CACHE_DIR", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "UV_LINK_MODE", "UV_SYSTEM_PYTHON"}


def tag(name: str, base: str) -> str:
    """The tag in the layout: a hash of the base and of every file that the image is made of."""
    return f"{name}-{cache.key(base, DOCKERFILES[name], *(CHECKOUT / part for part in _CONTEXT))}"


def build(name: str, base: str, made: str, layout: oci.Layout, work: cache.Build) -> None:
    """Build the image called `name` on the image tagged `base`, and put it into the layout with the tag `made`."""
    store = _Store(work)
    # A build that was killed leaves its container behind, with a copy of all that was in it.
    store.buildah("rm", "--all")
    base_name = f"localhost/dtj-base:{base}"
    if not store.has(base_name):
        archive = work.folder / "base.tar"
        with archive.open("wb") as stream:
            layout.export(base, base_name, frozenset(), stream)
        store.buildah("pull", f"oci-archive:{archive}")
    image = f"localhost/dtj-{name}"
    store.buildah(
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
    store.copy(image, f"oci:{layout.path}:{made}")
    store.buildah("rmi", "--prune", "--force")
    work.step.detail = ""


class _Store:
    """Our own store of containers and layers, which buildah fills and skopeo reads."""

    def __init__(self, work: cache.Build) -> None:
        self._work = work
        self._programs = binaries.ensure("buildah", "skopeo")
        self._root = cache.root() / "buildah"

    def _buildah(self) -> list[str]:
        program = str(self._programs["buildah"])
        return [program, f"--root={self._root}", f"--runroot={_RUN_ROOT}", "--storage-driver=overlay"]

    def has(self, image: str) -> bool:
        """True when the store knows the image."""
        asked = subprocess.run([*self._buildah(), "inspect", "--type=image", image], capture_output=True, check=False)
        return asked.returncode == 0

    def buildah(self, *words: str) -> None:
        """Run one command of buildah."""
        self._run([*self._buildah(), *words])

    def copy(self, image: str, target: str) -> None:
        """Copy an image to a layout, without the layers that are there; `buildah push` would compress all of them."""
        source = f"containers-storage:[overlay@{self._root}+{_RUN_ROOT}]{image}"
        self._run([str(self._programs["skopeo"]), "copy", "--dest-oci-accept-uncompressed-layers", source, target])

    def _run(self, words: list[str]) -> None:
        self._work.run(
            ["nice", "-n", "10", *words],
            on_line=self._show,
            mend="Look at the log and at `df -h` (the trainer's image takes about 30 GB while it is built), then run "
            "the same command again: the layers that were finished are kept.",
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
