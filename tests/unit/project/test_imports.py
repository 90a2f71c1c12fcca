"""What may be imported where, beyond what the contracts of import-linter can say."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]

STANDARD_ONLY = {
    # What runs before there is an environment.
    "tools/cluster/dtj_preflight": {"dtj_preflight"},
    # What runs inside foreign images, and what such a script imports.
    "trainer_image/dtj_trainer/launch": {"torch", "dtj_api", "dtj", "dtj_trainer"},
    "trainer_image/dtj/pace.py": {"dtj"},
    "trainer_image/dtj/link.py": {"dtj", "dtj_api"},
    "operator/dtj_api/bounds.py": set(),
    "operator/dtj_api/decoding.py": {"dtj_api"},
    "operator/dtj_api/metrics.py": set(),
    "operator/dtj_api/names.py": set(),
    "operator/dtj_api/nesting.py": set(),
    "operator/dtj_api/open_files.py": set(),
    "operator/dtj_api/wire.py": {"dtj_api"},
}


def import_root(file: pathlib.Path) -> pathlib.Path:
    """The folder on sys.path that the file is imported from."""
    return next(parent for parent in file.parents if not (parent / "__init__.py").exists())


def imports(file: pathlib.Path) -> set[str]:
    """All modules that a file imports, at its top or anywhere inside, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from ..x import y` in a/b/c.py is a.x.y.
            package = file.relative_to(import_root(file)).parts[: -node.level] if node.level else ()
            module = ".".join([*package, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def sources(place: str) -> list[pathlib.Path]:
    path = ROOT / place
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert files, f"{place} holds no Python file"
    return files


@pytest.mark.parametrize("place", STANDARD_ONLY)
def test_stays_with_the_standard_library(place: str):
    allowed = sys.stdlib_module_names | STANDARD_ONLY[place]
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sources(place)
        for name in imports(file)
        if name.split(".")[0] not in allowed
    }
    assert not wrong


SMALL = ("dtj_api.metrics", "dtj_api.names", "dtj_api.open_files", "dtj_api.ports", "dtj_api.wire")
"""Of the shared package, what has no model of a manifest, and so nothing but the standard library, behind it."""


def test_the_launcher_takes_only_what_is_small_from_the_shared_package():
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sources("trainer_image/dtj_trainer/launch")
        for name in imports(file)
        if (name.startswith("dtj_api") and not name.startswith(SMALL))
        or (name.startswith("dtj_trainer") and not name.startswith("dtj_trainer.launch"))
    }
    assert not wrong


def test_operator_stays_the_standard_library():
    # The folder `operator/` lies in the current folder, which is the first entry of sys.path under `-c`.
    program = "import operator; print(operator.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert pathlib.Path(ran.stdout.strip()).parent == pathlib.Path(os.__file__).parent


@pytest.mark.parametrize("folder", ["operator", "trainer_image", "tools", "tools/cluster", "tools/demo"])
def test_import_roots_are_no_packages(folder: str):
    assert not (ROOT / folder / "__init__.py").exists()
