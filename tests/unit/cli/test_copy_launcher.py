"""What an init container brings runs where nothing of dtj is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dtj_operator.cli.operator import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert main(["copy-launcher", str(tmp_path / "launcher")]) == 0
    return tmp_path / "launcher"


def run(folder: Path, *words: str, **env: str) -> str:
    """Start a module from the folder, by an interpreter without any installed package."""
    command = [sys.executable, "-S", str(folder / "start.py"), *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env={"PATH": "/bin", **env})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_users_library_and_the_words_need_nothing_else(folder: Path) -> None:
    (folder / "ask.py").write_text("import dtj, dtj_api.wire\nprint(dtj.__file__)\n")
    assert run(folder, "ask").strip() == str(folder / "dtj" / "__init__.py")


def test_arguments_arrive_and_interpreters_that_are_started_find_it_too(folder: Path) -> None:
    (folder / "ask.py").write_text("import os, sys\nprint(sys.argv[1:], os.environ['PYTHONPATH'])\n")
    told = run(folder, "ask", "--", "python", "-c", "x", PYTHONPATH="/mine")
    assert told.strip() == f"['--', 'python', '-c', 'x'] {folder}{os.pathsep}/mine"


def test_a_second_copy_over_the_first_is_fine(folder: Path) -> None:
    assert main(["copy-launcher", str(folder)]) == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main(["copy-launcher", str(file)]) == 1
    assert f"dtj-operator: {file}: cannot be written" in capsys.readouterr().err
