"""`dtj run` without a cluster: a job of local launchers, from one call."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dtj_api.failure_policy import Action
from dtj_api.spec import JobSpec
from dtj_trainer.cli.failures import Failures
from dtj_trainer.launch.local import job
from dtj_trainer.launch.local.job import LocalJob
from dtj_trainer.launch.local.run import STORES, Interrupts, _gave_up, run, stop
from dtj_trainer.launch.ranks.ranks import Forked, RankExit

start_worker = LocalJob.start_worker
SCRIPTS = pathlib.Path(__file__).parent / "scripts"


@pytest.fixture
def local(tmp_path, nursery):
    def begin(*words, workers=2, processes=1, **options):
        command = [sys.executable, str(SCRIPTS / words[0]), *words[1:]]
        env = {"TEST_FOLDER": str(tmp_path), **options.pop("env", {})}
        return run(command, workers, processes, tmp_path / "work", env, nursery=nursery, **options)

    return begin


def judge(max_restarts=10, **fields):
    """What ends a run of a job whose other fields are these."""
    template = {"spec": {"containers": [{"name": "trainer", **({} if "trainer" in fields else {"command": ["x"]})}]}}
    fields = {"workers": {"template": template}, "failurePolicy": {"maxRestarts": max_restarts}, **fields}
    return Failures(JobSpec.model_validate(fields), "own").judge


def test_a_run_succeeds_and_tells_of_its_progress(local):
    told = []
    assert local("train.py", "20", on_report=told.append) == 0
    last = {report.index: report for reports in told for report in reports}
    assert {index: report.progress.step for index, report in last.items()} == {0: 20, 1: 20}
    assert last[0].progress.total_steps == 20


def test_a_run_that_always_fails_ends_with_an_error(local, tmp_path, capfd):
    assert (
        local("crash.py", workers=1, judge=judge(failurePolicy={"maxRestarts": 1, "crashLoop": {"sameError": 0}})) == 1
    )
    assert len((tmp_path / "began").read_text().split()) >= 2
    assert "2 failures within 1h, and failurePolicy.maxRestarts allows 1 restarts" in capfd.readouterr().err


def test_a_run_that_leaves_by_the_same_exit_code_before_any_step_is_not_begun_a_third_time(local, tmp_path, capfd):
    assert local("crash.py", workers=1, judge=judge()) == 1
    assert "the same error came 2 times in a row" in capfd.readouterr().err
    assert len((tmp_path / "began").read_text().split()) >= 2


def test_where_no_restart_is_allowed_nothing_starts_twice(local, tmp_path):
    assert local("crash.py", workers=1, env={"DTJ_MAX_RESTARTS": "0"}, judge=judge(0)) == 1
    assert len((tmp_path / "began").read_text().split()) == 1


def test_where_no_restart_is_allowed_what_is_charged_to_nobody_is_followed_by_another_start(local):
    rule = {"onExitCodes": [3], "action": Action.RESTART_EXCUSED}
    policy = judge(failurePolicy={"maxRestarts": 0, "rules": [rule]})
    told = []
    assert local("exits.py", "3", env={"DTJ_MAX_RESTARTS": "0"}, judge=policy, on_report=told.append) == 0
    assert max(report.round for reports in told for report in reports) == 2


def test_a_run_whose_configuration_is_wrong_ends_at_once(local, capfd):
    told = []
    trainer = {"task": "ner", "model": {"path": "m"}, "data": {"train": "a", "dev": "b", "test": "c"}}
    assert local("bad_config.py", on_report=told.append, judge=judge(trainer=trainer)) == 64
    assert "restarting does not help: rank " in capfd.readouterr().err
    assert any(failure.exit_code == 64 for report in told[-1] for failure in report.failures)


def test_a_script_may_mean_anything_by_the_code_of_a_wrong_configuration(local):
    assert local("bad_config.py", judge=judge()) == 0


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
    assert local("no_such_script.py", workers=1) == 64
    assert "no file" in capfd.readouterr().err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_before_its_launchers_listen_says_so(tmp_path, signum, code):
    """As a terminal does it: the signal goes to all processes of its group."""
    program = (
        "import sys; from dtj_trainer.launch.local import job, run\n"
        "meet = job.LocalJob.meet\n"
        "job.LocalJob.meet = lambda *given, **named: (print('begins', flush=True), meet(*given, **named))\n"
        "sys.exit(run.run([sys.executable, '-c', ''], 2, 1, None, {}, output=2))\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    with running:
        try:
            assert running.stdout.readline() == "begins\n"
            os.killpg(running.pid, signum)
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
    assert said == "dtj: stopped before the training began\n"
    assert running.returncode == code


class Deaf:
    """A job whose launchers do not end."""

    def __init__(self):
        self.workers = [SimpleNamespace(index=index, process=Forked()) for index in range(3)]
        self.told = []

    def signal(self, program, signum):
        self.told.append(signum)


def test_launchers_that_do_not_end_are_waited_for_no_longer_than_they_may_save(capfd):
    job = Deaf()
    job.workers[1].process.end(RankExit(1, 143, 0.0))
    stop(job, Interrupts(), 0.01)
    assert job.told == [signal.SIGTERM] * 3
    assert capfd.readouterr().err == (
        "dtj: no end 0 s after the word to leave: killed without a save, if they were about one: worker 0, worker 2\n"
    )


def test_a_second_interrupt_ends_the_run_at_once(capfd):
    job, interrupts = Deaf(), Interrupts()
    interrupts.come.append(signal.SIGINT)
    job.workers[0].process.wait = lambda seconds: interrupts.come.append(signal.SIGINT)
    stop(job, interrupts, 3600.0)
    assert capfd.readouterr().err == (
        "dtj: stopped again: killed without a save, if they were about one: worker 0, worker 1, worker 2\n"
    )


def test_a_launcher_that_ends_before_it_listens_is_told_in_words(local, capfd, monkeypatch):
    monkeypatch.setattr(
        LocalJob,
        "start_worker",
        lambda job, index, env: start_worker(job, index, env) and job.signal(job.workers[-1].process, signal.SIGKILL),
    )
    assert local("train.py", "20", workers=1) == 1
    assert "dtj: worker 0 was killed by SIGKILL before it listened" in capfd.readouterr().err


def test_a_launcher_that_ends_while_the_others_train_is_told_in_words(local, capfd, monkeypatch):
    meet = LocalJob.meet
    monkeypatch.setattr(
        LocalJob, "meet", lambda job, **named: meet(job, **named) or job.signal(job.workers[1].process, signal.SIGKILL)
    )
    assert local("train.py", "1000000") == 1
    assert "dtj: worker 1 was killed by SIGKILL; its output says more\n" in capfd.readouterr().err


def test_launchers_that_give_up_and_stay_for_another_meeting_end_the_run_in_their_words(local, capfd, monkeypatch):
    """They leave with the code of a drain, which is a user's stop where nothing failed."""
    send = LocalJob._send_when_up
    monkeypatch.setattr(
        LocalJob,
        "_send_when_up",
        lambda job, worker, meet, stopped: send(job, worker, replace(meet, min_nodes=3, max_nodes=3), stopped),
    )
    assert local("train.py", "20", env={"DTJ_JOIN_TIMEOUT": "1"}) == 1
    assert re.search(r"dtj: worker \d gave up: round 1 did not form within 1 s: ", capfd.readouterr().err)


@pytest.mark.parametrize(("left", "code"), [(None, 1), (143, 1), (-9, 1), (64, 64)])
def test_a_launcher_that_gives_up_and_ends_by_itself_has_the_last_word_on_the_code(left, code):
    worker = SimpleNamespace(index=2, process=Forked())
    if left is not None:
        worker.process.end(RankExit(1, left, 0.0))
    error = _gave_up(worker, "no volume")
    assert (str(error), error.code) == ("worker 2 gave up: no volume", code)


def test_a_command_that_cannot_be_run_ends_as_on_a_cluster_with_the_line_to_write(tmp_path, nursery, capfd):
    assert run(["bash", "-c", "torchrun --nnodes=2 --no-such-option a.py"], 1, 1, None, {}, nursery=nursery) == 64
    assert "dtj: worker 0 ended with exit code 64 before it listened: " in capfd.readouterr().err


def test_a_store_whose_port_somebody_has_taken_is_begun_anew(local, monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        ports = [held.getsockname()[1]]
        free = job.free_ports
        monkeypatch.setattr(job, "free_ports", lambda count: [ports.pop()] if ports else free(count))
        assert local("train.py", "20") == 0
    assert ports == []


def test_a_store_that_ends_while_they_train_is_replaced(local, monkeypatch):
    """And they meet at the new one in the processes that they are."""
    made = []
    start_store = LocalJob.start_store
    monkeypatch.setattr(LocalJob, "start_store", lambda self: (start_store(self), made.append((self, self.store))))
    met = []

    def look(reports):
        met.extend(report.incarnation for report in reports)
        if len(made) == 1 and any((report.progress.step or 0) > 5 for report in reports):
            running, store = made[0]
            running.signal(store, signal.SIGKILL)
            store.wait(60)

    assert local("train.py", "400", on_report=look) == 0
    assert len(made) == 2
    assert max(met) == 2


def test_a_store_that_always_ends_ends_the_run_with_words(local, monkeypatch, capfd):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        free = job.free_ports
        monkeypatch.setattr(job, "free_ports", lambda count: [held.getsockname()[1]] if count == 1 else free(count))
        assert local("train.py", "20") == 1
    assert f"dtj: the store has ended {STORES} times; its output says why" in capfd.readouterr().err


def test_an_interrupted_run_saves_and_leaves_nothing_running(tmp_path):
    program = (
        "import pathlib, sys; from dtj_trainer.launch.local.run import run\n"
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
