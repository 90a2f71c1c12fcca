"""`.ci/bare` as the parts of `.ci/run` meet it: it needs root to hide what a system package put into the way."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
BARE = pathlib.Path(__file__).parents[2] / ".ci" / "bare"
FOREIGN = ["uv", "helm", "kubectl", "pyenv"]
PASSED = {
    "CI": "true",
    "SSL_CERT_FILE": "/etc/a company's.pem",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "no_proxy": "localhost",
    "PIP_INDEX_URL": "https://packages.example/simple",
    "UV_DEFAULT_INDEX": "https://packages.example/simple",
    "UV_INDEX_OURS_PASSWORD": "a b\nc",
    "GOFLAGS": "-modcacherw",
    "UV_CACHE_DIR": "/elsewhere/uv",
    "XDG_CACHE_HOME": "/elsewhere",
}
STOPPED = {
    "VIRTUAL_ENV": "/venv",
    "PYENV_VERSION": "3.13",
    "UV": "/opt/uv",
    "KUBECONFIG": "/config",
    "GOBIN": "/go/bin",
}


def bare(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BARE, *words], env={**os.environ, **more}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> list[str]:
    """The words before a command that put a uv, a helm, a kubectl and a pyenv among the system's programs."""
    for name in FOREIGN:
        (tmp_path / name).write_text("#!/bin/sh\necho here I am\n")
        (tmp_path / name).chmod(0o755)
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            f'mount --bind {tmp_path} /usr/local/bin && exec "$@"', "sh"]  # fmt: skip


def test_only_what_is_listed_gets_in():
    told = bare("env", "-0", **PASSED, **STOPPED)

    found = dict(line.partition("=")[::2] for line in told.stdout.split("\0") if line)
    assert PASSED.items() <= found.items()
    assert not STOPPED.keys() & found.keys()


def test_home_is_new_and_gone_afterwards():
    told = bare("sh", "-c", 'echo "$HOME"; ls -A "$HOME" | wc -l; touch "$HOME/file"')

    home, files = told.stdout.split()
    assert files == "0"
    assert home != os.environ.get("HOME")
    assert not pathlib.Path(home).exists()


@pytest.mark.parametrize("name", FOREIGN)
def test_a_program_that_readme_does_not_ask_for_cannot_be_run(machine: list[str], name: str):
    here = subprocess.run([*machine, f"/usr/local/bin/{name}"], capture_output=True, text=True, timeout=60, check=True)
    assert here.stdout == "here I am\n"

    told = subprocess.run(
        [*machine, BARE, "python3", "-c", f"import shutil; print(shutil.which({name!r}))"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert told.stdout == "None\n"


@pytest.mark.parametrize("name", ["python3", "go", "apt-get"])
def test_what_readme_asks_for_is_there(name: str):
    assert bare("sh", "-c", f"command -v {name}").returncode == 0


def test_the_status_and_the_words_are_the_commands():
    told = bare("sh", "-c", "echo out; echo err >&2; exit 7")

    assert (told.returncode, told.stdout, told.stderr) == (7, "out\n", "err\n")
