"""A launcher that an init container brought into an image with torch and no dtj: it is started as a file."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import sys

import pytest
from launcher_jobs import Job

import dtj
import dtj_api
import dtj_trainer
from dtj_api.names import LAUNCHER_START
from dtj_trainer.launch.ranks.command import Command, RunAs


class Foreign(Job):
    """Its programs are started in the working directory as pods of foreign images start theirs."""

    def _start(self, module, argv, env):
        start = str(self.folder / "launcher" / LAUNCHER_START)
        words = ("/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), sys.executable, start, module, *argv)
        program = self._nursery.program(Command(RunAs.SUBPROCESS, words), env, self._output)
        self._started.append(program)
        return program


@pytest.fixture
def foreign(tmp_path, nursery):
    folder = tmp_path / "launcher"
    folder.mkdir()
    for package in (dtj, dtj_api, dtj_trainer):
        (folder / package.__name__).symlink_to(pathlib.Path(package.__path__[0]))
    start = pathlib.Path(dtj_trainer.__path__[0], "launch", LAUNCHER_START)
    (folder / LAUNCHER_START).write_text(start.read_text())

    with contextlib.ExitStack() as stack:

        def begin(*words) -> Job:
            return stack.enter_context(Foreign(tmp_path, nursery, list(words))).begin(1)

        yield begin


def test_a_module_of_the_working_directory_is_found_and_run(foreign, tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "other.py").write_text("")
    script = "import sys, pkg.other\nprint('runs', __package__, __spec__.name, sys.path[0], sys.argv[1:])"
    (tmp_path / "pkg" / "train.py").write_text(script)
    job = foreign("python", "-m", "pkg.train", "--epochs", "3")
    assert job.exit_code(job.workers[0]) == 0
    assert f"runs pkg pkg.train {tmp_path} ['--epochs', '3']" in job.output()


def test_a_script_finds_dtj_and_what_lies_beside_it(foreign, tmp_path):
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "train.py").write_text("import beside, dtj, sys\nprint('runs', dtj.__file__, __file__, sys.argv)")
    job = foreign("python", "train.py")
    assert job.exit_code(job.workers[0]) == 0
    ours = tmp_path / "launcher" / "dtj" / "__init__.py"
    assert f"runs {ours} {tmp_path / 'train.py'} ['train.py']" in job.output()


@pytest.mark.parametrize("also", [0, 1], ids=["the launcher's alone", "another one beside the script"])
def test_a_script_that_imports_another_copy_of_the_library_is_named(foreign, tmp_path, also):
    """Behind a shell, where nothing is imported for it: the two may be of different versions."""
    (tmp_path / "train.py").write_text("import dtj\ndtj.report(step=1)\ndtj.report(step=2)\n")
    if also:
        shutil.copytree(pathlib.Path(dtj.__path__[0]), tmp_path / "dtj")
    job = foreign("bash", "-c", f"{sys.executable} train.py")
    assert job.exit_code(job.workers[0]) == 0
    ours = pathlib.Path(dtj.__path__[0]).resolve()
    said = f"rank 0 imports dtj from {tmp_path / 'dtj'}, and this launcher's is {ours}: where they are of two versions"
    assert job.output().count(said) == also
    assert job.output().count("imports dtj from") == also
