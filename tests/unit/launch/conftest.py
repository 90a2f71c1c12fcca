"""Real launchers as processes, forked from one that has imported torch: a launcher is up in a tenth of a second."""

import contextlib
import pathlib

import pytest
from launcher_jobs import Job

from dtj_trainer.launch.nursery import Nursery

SCRIPTS = pathlib.Path(__file__).parent / "scripts"


@pytest.fixture(scope="session")
def nursery():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        one = Nursery()
    yield one
    one.close()


@pytest.fixture
def start(tmp_path, nursery):
    """Start a job: `start(workers, "script.py", *args, env=..., ...)`."""
    with contextlib.ExitStack() as stack:

        def begin(workers, *words, meet=True, **options) -> Job:
            command = ["python", str(SCRIPTS / words[0]), *words[1:]] if words[0].endswith(".py") else list(words)
            job = stack.enter_context(Job(tmp_path, nursery, command, **options))
            return job.begin(workers, meet=meet)

        yield begin
