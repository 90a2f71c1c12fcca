"""What of the environment a part of .ci/run may see: this table, and the list that .ci/bare reads is held to it."""

from __future__ import annotations

import fnmatch
import pathlib
import re

import pytest

CI = pathlib.Path(__file__).parents[3] / ".ci"
ALLOWED = {
    "CI", "LANG", "TERM", "TMPDIR",
    "XDG_CACHE_HOME", "XDG_STATE_HOME", "UV_CACHE_DIR", "GOCACHE", "GOMODCACHE",
    "SSL_CERT_*", "*_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "PIP_*", "UV_*INDEX*", "GOPROXY", "GOSUMDB", "GOFLAGS",
}  # fmt: skip
# What a developer's shell has and a bare machine has not: each once let a part find what README does not ask for.
STRANGERS = [
    "PATH", "HOME", "USER", "SHELL", "LD_LIBRARY_PATH", "LD_PRELOAD", "MAKEFLAGS", "OMP_NUM_THREADS",
    "PYENV_ROOT", "PYENV_VERSION", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE",
    "UV", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_CERTS", "UV_SYSTEM_PYTHON",
    "GOROOT", "GOBIN", "GOPATH", "GOTOOLCHAIN",
    "KUBECONFIG", "DTJ_TEST_CLUSTER", "DOCKER_HOST", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
]  # fmt: skip


def listed() -> list[str]:
    return [line for line in (CI / "environment").read_text().splitlines() if not line.startswith("#")]


def test_the_list_is_this_table():
    assert sorted(listed()) == sorted(ALLOWED)


@pytest.mark.parametrize("name", STRANGERS)
def test_nothing_of_a_developers_shell_is_let_through(name: str):
    assert [pattern for pattern in listed() if fnmatch.fnmatchcase(name, pattern)] == []


def test_every_part_runs_in_it():
    parts = re.findall(r"^ *part \S+ (\S+)", (CI / "run").read_text(), re.M)

    assert len(parts) >= 5
    assert set(parts) == {".ci/bare"}
