"""`dtj run` without a cluster: a job of local launchers, from one call."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from dtj_trainer.launch.local import run

SCRIPTS = pathlib.Path(__file__).parent / "scripts"


@pytest.fixture
def local(tmp_path, nursery):
    def begin(*words, workers=2, processes=1, **options):
        command = [sys.executable, str(SCRIPTS / words[0]), *words[1:]]
        env = {"TEST_FOLDER": str(tmp_path)}
        return run(command, workers, processes, tmp_path / "work", env, nursery=nursery, **options)

    return begin


def test_a_run_succeeds_and_tells_of_its_progress(local):
    told = []
    assert local("train.py", "20", on_report=told.append) == 0
    last = {report.index: report for reports in told for report in reports}
    assert {index: report.progress.step for index, report in last.items()} == {0: 20, 1: 20}
    assert last[0].progress.total_steps == 20


def test_a_run_that_always_fails_ends_with_an_error(local, tmp_path, capfd):
    assert local("crash.py", workers=1, max_restarts=1) == 1
    assert len((tmp_path / "began").read_text().split()) >= 2
    assert "2 failures, and 1 restarts are allowed" in capfd.readouterr().err


def test_a_run_whose_configuration_is_wrong_ends_at_once(local, capfd):
    told = []
    assert local("bad_config.py", max_restarts=5, on_report=told.append) == 64
    assert "exited 64, and a restart does not help" in capfd.readouterr().err
    assert any(failure.exit_code == 64 for report in told[-1] for failure in report.failures)


def test_each_worker_sees_its_own_gpus(local, tmp_path):
    assert local("look.py", processes=2, devices=["2,GPU-ab", "5,7"]) == 0
    seen = [json.loads((tmp_path / f"seen-{rank}.json").read_text())["env"] for rank in range(4)]
    assert {(env["DTJ_INDEX"], env["LOCAL_RANK"], env["CUDA_VISIBLE_DEVICES"]) for env in seen} == {
        ("0", "0", "2,GPU-ab"),
        ("0", "1", "2,GPU-ab"),
        ("1", "0", "5,7"),
        ("1", "1", "5,7"),
    }


def test_a_run_of_a_script_that_is_not_there_says_so(local, capfd):
    assert local("no_such_script.py", workers=1) == 1
    assert "no file" in capfd.readouterr().err


def test_an_interrupted_run_saves_and_leaves_nothing_running(tmp_path):
    program = (
        "import pathlib, sys; from dtj_trainer.launch.local import run\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"command = [sys.executable, {str(SCRIPTS / 'train.py')!r}, '1000000']\n"
        "sys.exit(run(command, 2, 1, folder / 'work', {'TEST_FOLDER': str(folder)}))\n"
    )
    with (tmp_path / "output").open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-c", program], stdout=output, stderr=output, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        try:
            while not (tmp_path / "stepped-1-1").exists() and running.poll() is None:
                pass
            pids = [int(path.read_text()) for path in tmp_path.glob("pid-1-1-*")]
            running.terminate()
            assert running.wait(60) == 143, (tmp_path / "output").read_text()
        finally:
            running.kill()
            running.wait()
    assert len(pids) == 2
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids)
    assert len(list((tmp_path / "work/checkpoints").glob("step-*"))) == 1
