"""What is brought to an image of somebody else's so that unit tests run in it: the checkout, and what calls them.

They are the tests of what runs in such images: the `dtj` library, the launcher, and the messages that these exchange
with the operator. Those that need more than the image has are named here, by the module that they need.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from dtj_cluster import dockerfile, foreign_image

ROOT = dockerfile.CHECKOUT
PARTS = (
    "tests/unit/dtj_lib",
    "tests/unit/launch",
    "tests/unit/api/test_decoding.py",
    "tests/unit/api/test_nesting.py",
)
NEED_MORE = {
    "pydantic": (
        "tests/unit/launch/test_local.py",
        "tests/unit/launch/test_store.py::test_all_launchers_of_the_largest_job_may_come_in_one_instant",
    ),
    "transformers": (
        "tests/unit/dtj_lib/test_callback.py",
        "tests/unit/dtj_lib/test_checkpoints.py::test_the_transformers_trainer_goes_on_after_a_kill",
        "tests/unit/dtj_lib/test_reporting.py::test_the_transformers_callback_declares_its_evaluations",
        "tests/unit/dtj_lib/test_reporting.py::test_the_transformers_callback_declares_a_save_before_the_trainer_writes",
        "tests/unit/dtj_lib/test_stages.py::test_one_trainer_after_another_is_a_stage_each",
    ),
    "xxhash": (
        "tests/unit/dtj_lib/test_manifest.py::test_any_kind_of_sum_that_the_image_has_is_compared[xxh3-128]",
        "tests/unit/dtj_lib/test_manifest.py::test_of_a_kind_that_the_image_lacks_the_size_is_compared_and_it_says_so",
        "tests/unit/dtj_lib/test_restoring.py::test_sums_that_the_image_cannot_make_are_told",
    ),
    "yaml": ("tests/unit/dtj_lib/test_examples.py",),
}
"""Modules that the image lacks, and the tests of those parts that cannot run there for it."""
OURS = ("dtj", "dtj_api", "dtj_trainer")
"""Packages of ours; the image has none."""
_COPIED = ("operator/dtj_api", "trainer_image", "tests/unit", "tests/support", "tests/chaos", "examples", "docs")
_TOP = ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def bring(folder: Path) -> None:
    """Put the checkout's files and what runs tests into a folder that a pod mounts."""
    for part in _COPIED:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in _TOP:
        shutil.copy(ROOT / file, folder / file)
    needed = folder / "needed.txt"
    export = ["export", "--frozen", "--only-group", "test", "--no-emit-project", "--no-hashes", "--quiet"]
    _uv(*export, "--output-file", str(needed))
    _uv(
        "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder / "tools"),
        "--only-binary", ":all:", "--no-deps", "--python-version", foreign_image.PYTHON,
        "--python-platform", foreign_image.PLATFORM, "--requirements", str(needed),
    )  # fmt: skip


def command(folder: str) -> str:
    """The shell command that runs the tests, where the folder is mounted."""
    without = [f"--deselect={test}" if "::" in test else f"--ignore={test}" for test in _left_out()]
    words = ["python", "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "--numprocesses=3"]
    places = ":".join(f"{folder}/{each}" for each in ("operator", "trainer_image", "tools"))
    call = shlex.join([*words, "--dist=worksteal", "--durations=10", "-m", "not soak and not gpu", *without, *PARTS])
    # The shell stays, and reaps what tests leave behind.
    return f"cd {folder} && export PYTHONPATH={places} && {call}; exit $?"


def unknown() -> list[str]:
    """Tests that are named here and that there are none of."""
    found = []
    for test in _left_out():
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text() if (ROOT / file).is_file() else ""
        if not re.search(rf"^def {name.partition('[')[0] or 'test_'}", text, re.MULTILINE):
            found.append(test)
    return found


def _left_out() -> list[str]:
    return [test for tests in NEED_MORE.values() for test in tests]


def _uv(*words: str) -> None:
    subprocess.run([dockerfile.UV, *words], cwd=ROOT, check=True, timeout=300, capture_output=True, text=True)
