"""The uv of the project: made once by any Python, never one that happens to be on PATH; and the one of a Docker build.

Python is stood in for by a script that knows `-m venv` and, in what that made, `-m pip`: as in an environment that uv
made, it has no pip itself.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest
from programs import program

ROOT = pathlib.Path(__file__).parents[3]
VERSION = (ROOT / "tools" / "docker" / "uv.txt").read_text().strip().removeprefix("uv==")
PYTHON = """\
#!/bin/sh
echo "python $*" >> "$CALLS"
[ "$2" = venv ] || { echo "$0: No module named $2" >&2; exit 1; }
mkdir -p "$3/bin"
cp "$(dirname "$0")/python-with-pip" "$3/bin/python"
"""
PYTHON_WITH_PIP = """\
#!/bin/sh
echo "pip authorities ${PIP_CERT:-its own}" >> "$CALLS"
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/bin"
cat > "$2/bin/uv" <<'UV'
#!/bin/sh
echo "uv certs=$UV_SYSTEM_CERTS downloads=${UV_PYTHON_DOWNLOADS:-} $*" >> "$CALLS"
exit "${UV_ENDS:-0}"
UV
chmod 755 "$2/bin/uv"
"""


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> pathlib.Path:
    """A machine with Python, and with a uv of somebody's on its PATH."""
    program(tmp_path / "bin" / "python3", PYTHON)
    program(tmp_path / "bin" / "python-with-pip", PYTHON_WITH_PIP)
    program(tmp_path / "bin" / "uv", '#!/bin/sh\necho "a stranger\'s uv" >> "$CALLS"\n')
    (tmp_path / "tmp").mkdir()
    (tmp_path / "authorities.pem").touch()
    return tmp_path


def environment(machine: pathlib.Path, **more: str) -> dict[str, str]:
    return {
        "PATH": f"{machine / 'bin'}:/usr/bin:/bin",
        "HOME": str(machine / "home"),
        "TMPDIR": str(machine / "tmp"),
        "CALLS": str(machine / "calls"),
        "SSL_CERT_FILE": str(machine / "authorities.pem"),
        **more,
    }


def calls(machine: pathlib.Path) -> list[str]:
    return (machine / "calls").read_text().splitlines()


def run(*words: str | os.PathLike[str], env: dict[str, str], cwd: pathlib.Path | None = None) -> str:
    return subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, check=True, timeout=60).stdout


def test_it_is_made_once_by_its_version_and_the_one_on_the_path_is_left_alone(machine: pathlib.Path):
    uv = ROOT / "tools" / "uv"

    run(uv, "sync", env=environment(machine))
    run(uv, "run", "it", env=environment(machine))
    where = run(uv, "--where", env=environment(machine)).strip()

    assert where == str(machine / "home" / ".cache" / "dtj" / f"uv-{VERSION}" / "bin" / "uv")
    assert [call for call in calls(machine) if call.startswith("python")] == [calls(machine)[0]]
    assert calls(machine)[2:] == ["uv certs=1 downloads=never sync", "uv certs=1 downloads=never run it"]


def test_pip_trusts_what_the_machine_trusts_when_it_fetches_uv(machine: pathlib.Path):
    run(ROOT / "tools" / "uv", "--where", env=environment(machine))

    assert f"pip authorities {machine / 'authorities.pem'}" in calls(machine)


@pytest.mark.parametrize("name", ["UV_SYSTEM_CERTS", "UV_PYTHON_DOWNLOADS"])
def test_what_the_user_says_about_it_is_left_alone(machine: pathlib.Path, name: str):
    run(ROOT / "tools" / "uv", "sync", env=environment(machine, **{name: "own"}))

    assert "=own" in calls(machine)[-1]


def test_two_that_make_it_at_once_both_get_it(machine: pathlib.Path):
    uv = ROOT / "tools" / "uv"
    both = [subprocess.Popen([uv, "sync"], env=environment(machine)) for _ in range(2)]

    assert [one.wait(60) for one in both] == [0, 0]
    assert [folder.name for folder in (machine / "home" / ".cache" / "dtj").iterdir()] == [f"uv-{VERSION}"]


def test_a_fetch_that_failed_leaves_nothing_and_says_why(machine: pathlib.Path):
    program(machine / "bin" / "python-with-pip", "#!/bin/sh\necho 'no matching distribution' >&2\nexit 1\n")

    ran = subprocess.run(
        [ROOT / "tools" / "uv", "sync"], env=environment(machine), capture_output=True, text=True, timeout=60
    )

    assert ran.returncode != 0
    assert "no matching distribution" in ran.stderr
    assert list((machine / "home" / ".cache" / "dtj").iterdir()) == []


@pytest.fixture
def build(machine: pathlib.Path) -> pathlib.Path:
    """What a Dockerfile has in its folder; the environment's Python comes first on PATH and has no pip."""
    (machine / "bin" / "uv").unlink()
    shutil.copytree(ROOT / "tools" / "docker", machine / "src")
    return machine / "src"


def test_a_docker_build_fetches_uv_each_time_and_keeps_nothing_of_it(machine: pathlib.Path, build: pathlib.Path):
    for words in (["--extra", "operator"], ["--extra", "operator", "--no-editable"]):
        run("./uv-sync", *words, env=environment(machine), cwd=build)

    ran = [call.partition("uv certs=1 downloads= ")[2] for call in calls(machine) if call.startswith("uv")]
    assert ran == ["sync --frozen --no-dev --extra operator", "sync --frozen --no-dev --extra operator --no-editable"]
    assert list((machine / "tmp").iterdir()) == []


def test_a_docker_build_fails_when_uv_does(machine: pathlib.Path, build: pathlib.Path):
    ran = subprocess.run(["./uv-sync"], env=environment(machine, UV_ENDS="3"), cwd=build, timeout=60)

    assert ran.returncode == 3
    assert list((machine / "tmp").iterdir()) == []
