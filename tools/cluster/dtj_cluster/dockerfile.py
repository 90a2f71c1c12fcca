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
UV = CHECKOUT / "tools" / "uv"
"""The project's own uv; whatever is on PATH is none of our business."""
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
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# Settings that describe this machine's Python rather than the way to the package index.
_NOT_PASSED = {"UV_CACHE_DIR", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "UV_LINK_MODE", "UV_SYSTEM_PYTHON"}


def tag(name: str, base: str, checkout: pathlib.Path | None = None) -> str:
    """The tag in the layout: a hash of the base and of all files that it is made of, by default of this checkout."""
    context = checkout or CHECKOUT
    return f"{name}-{cache.key(base, _dockerfile(name, context), *(context / part for part in _CONTEXT))}"


def build(
    name: str, base: str, made: str, layout: oci.Layout, work: cache.Build, checkout: pathlib.Path | None = None
) -> None:
    """Build the image called `name` on the image tagged `base`, and put it into the layout with the tag `made`.

    What the tag says before its hash is the image's name in the store, too. The default is this checkout's.
    """
    context = checkout or CHECKOUT
    store = Store(work)
    # A build that was killed leaves its container behind, with a copy of all that was in it.
    store.buildah("rm", "--all")
    base_name = store.take(base, layout)
    image = f"localhost/dtj-{made.rpartition('-')[0]}"
    store.buildah(
        "build",
        "--layers",
        "--isolation=chroot",
        "--pull=never",
        f"--build-arg=BASE_IMAGE={base_name}",
        f"--volume={_machine(work.folder)}:{_MOUNT}:ro",
        f"--volume={_uv_cache()}:{_UV_CACHE}",
        f"--file={_dockerfile(name, context)}",
        f"--tag={image}",
        str(context),
    )
    store.copy(image, f"oci:{layout.path}:{made}")
    store.buildah("rmi", "--prune", "--force")
    work.step.detail = ""


class Store:
    """Our own store of containers and layers, which buildah fills and skopeo reads."""

    def __init__(self, work: cache.Build) -> None:
        self._work = work
        self._programs = binaries.ensure("buildah", "skopeo")
        self._root = cache.root() / "buildah"

    def _buildah(self) -> list[str]:
        program = str(self._programs["buildah"])
        return [program, f"--root={self._root}", f"--runroot={_RUN_ROOT}", "--storage-driver=overlay"]

    def take(self, base: str, layout: oci.Layout) -> str:
        """Take the base image over from the layout, when it is not here; returns its name here."""
        name = f"localhost/dtj-base:{base}"
        if not self._has(name):
            archive = self._work.folder / "base.tar"
            with archive.open("wb") as stream:
                layout.export(base, name, frozenset(), stream)
            self.buildah("pull", f"oci-archive:{archive}")
        return name

    def _has(self, image: str) -> bool:
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


def _dockerfile(name: str, context: pathlib.Path) -> pathlib.Path:
    return context / DOCKERFILES[name].relative_to(CHECKOUT)


def _machine(folder: pathlib.Path) -> pathlib.Path:
    """A folder with uv and this machine's way to the package index, to be mounted into the build."""
    made = folder / "machine"
    made.mkdir()
    shutil.copy2(_ask_uv("--where"), made / "uv.program")
    settings = {key: value for key, value in os.environ.items() if key.startswith("UV_") and key not in _NOT_PASSED}
    settings["UV_CACHE_DIR"] = _UV_CACHE
    certificates = pathlib.Path(os.environ.get("SSL_CERT_FILE") or _AUTHORITIES)
    if certificates.is_file():
        # An authority of a company's is known to the machine and not to the image.
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


def _uv_cache() -> pathlib.Path:
    folder = pathlib.Path(_ask_uv("cache", "dir"))
    # uv makes it when it first keeps something; whoever has deleted it has done no harm.
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _ask_uv(*words: str) -> str:
    try:
        asked = subprocess.run([UV, *words], capture_output=True, text=True, check=True, timeout=180)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise ClusterError(
            f"images are built with uv, and `{UV} {' '.join(words)}` failed: {said}", "Run `make setup` first."
        ) from error
    return asked.stdout.strip()
