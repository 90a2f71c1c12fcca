"""The project speaks of itself alone: no tracked file names a machine's folders or a package host."""

import enum
import pathlib
import re
import subprocess

import pytest

from dtj_api import metrics, names

ROOT = pathlib.Path(__file__).parents[3]
# Each is in two parts, so that this file does not name what it looks for.
FORBIDDEN = [
    r"(?<![\w./-])/(ro" + r"ot|wo" + r"rk|fa" + r"rm)(?![\w-])",
    r"py" + r"pi\.org",
    r"files\.python" + r"hosted",
    r"proxy\.go" + r"lang",
    r"registry\.npm" + r"js",
    r"deb\.deb" + r"ian\.org",
    r"--(extra-)?index" + r"-url",
    r"\bGOPR" + r"OXY=",
]
# The lock file names where each package comes from: that is its work.
EXEMPT = {"uv.lock"}
WORDS = {ROOT / "operator" / "dtj_api" / name for name in ("metrics.py", "names.py")}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return [name for name in listed.stdout.split("\0") if name and name not in EXEMPT]


def findings(text: str) -> list[str]:
    return [found.group(0) for pattern in FORBIDDEN for found in re.finditer(pattern, text)]


def test_no_tracked_file_names_a_machine_or_a_package_host():
    wrong = []
    for name in tracked():
        path = ROOT / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            wrong += [f"{name}:{number}: {found}" for found in findings(line)]
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "cd /ro" + "ot/x",
        "'/wo" + "rk'",
        "https://py" + "pi.org/simple",
        "pip install --index" + "-url x",
        "GOPR" + "OXY=off",
    ],
)
def test_the_search_finds(text: str):
    assert findings(text)


@pytest.mark.parametrize("text", ["/dtj/work", "network/root", "pyproject", "./work", "GOPROXY is read"])
def test_the_search_leaves_alone(text: str):
    assert not findings(text)


def test_every_word_of_the_contract_is_used():
    code = "\n".join(
        file.read_text()
        for folder in ("operator", "trainer_image")
        for file in (ROOT / folder).rglob("*.py")
        if file not in WORDS
    )
    members = [
        word.name
        for module in (metrics, names)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and kind.__module__ == module.__name__
        for word in kind
    ]
    assert [word for word in members if not re.search(rf"\.{word}\b", code)] == []
