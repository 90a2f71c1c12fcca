"""A volume that hangs holds neither the start of the ranks nor a later meeting, and nothing is charged to the user."""

from __future__ import annotations

import os
import pathlib

import pytest
from launcher_jobs import Job

from dtj_trainer.launch.local.nursery import Nursery

PLAIN = str(pathlib.Path(__file__).parent / "scripts" / "plain.py")


@pytest.fixture(scope="module")
def hanging():
    """Launchers from here may find their volume hanging."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        support = str(pathlib.Path(__file__).parents[2] / "support")
        patch.setenv("PYTHONPATH", os.pathsep.join([support, *filter(None, [os.environ.get("PYTHONPATH")])]))
        one = Nursery(["hanging_volume"])
    yield one
    one.close()


@pytest.mark.parametrize(
    ("call", "workers"), [("syncing", 2), ("making", 2), ("listing", 1), ("listing", 2)], ids=lambda value: str(value)
)
def test_ranks_start_and_the_next_meeting_is_taken(tmp_path, hanging, call, workers):
    (tmp_path / "work" / "logs").mkdir(parents=True)
    with Job(tmp_path, hanging, ["python", PLAIN, "1000000"], env={"TEST_HANGS": call}) as job:
        job.begin(workers)
        job.wait_reports("training", lambda r: r.state == "training")
        job.wait("steps", lambda: "step 9" in job.output())
        job.meet()
        after = job.wait_reports("training again", lambda r: (r.incarnation, r.state) == (2, "training"))
        assert [report.failures for report in after] == [()] * workers
        assert all(report.volume_shared is not False for report in after)
        assert [worker.process.exit for worker in job.workers] == [None] * workers
