"""Saves that are asked for: by the operator, by the kubelet, by an interval; always at one step of all ranks."""

import json
import signal
import sys
import time

from dtj_api.wire import Save, Stop


def agreed_steps(job, ranks) -> list[list[int]]:
    return [[int(line) for line in (job.folder / f"agreed-{rank}").read_text().split()] for rank in range(ranks)]


def test_a_save_asked_of_one_pod_is_made_by_all_ranks_at_one_step(start):
    job = start(3, "train.py", "1000000")
    job.wait_step(3)
    assert job.workers[1].send(Save(1, "first"))[0] == 200
    job.wait("the save", lambda: job.workers[1].report().last_save == "first")
    # The same id is the same save, at the pod that was asked and at any other.
    for worker in job.workers:
        assert worker.send(Save(1, "first"))[0] == 200
    job.wait_reports("the save known to all", lambda r: r.last_save == "first")
    step = job.workers[0].report().progress.checkpoint_step
    job.wait_step(step + 5)
    assert agreed_steps(job, 3) == [[step]] * 3
    assert json.loads((job.folder / f"work/checkpoints/step-{step}.i1/dtj.json").read_text())["step"] == step


def test_saves_by_steps_come_at_the_same_steps_everywhere(start):
    job = start(2, "train.py", "30", env={"DTJ_SAVE_EVERY_STEPS": "7", "DTJ_SAVE_KEEP": "2"})
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    assert agreed_steps(job, 2) == [[7, 14, 21, 28]] * 2
    kept = {path.name for path in (job.folder / "work/checkpoints").iterdir()}
    assert kept == {"step-21.i1", "step-28.i1", "LATEST"}


def test_sigterm_saves_and_leaves_while_the_others_stay(start):
    job = start(2, "train.py", "1000000")
    job.wait_step(3)
    job.signal(job.workers[1].process, signal.SIGTERM)
    assert job.exit_code(job.workers[1]) == 143
    (first,), (second,) = agreed_steps(job, 2)
    assert first == second
    assert (job.folder / f"work/checkpoints/step-{first}.i1/model.pt").exists()
    assert "saved before leaving" in job.output()
    stays = job.workers[0]
    job.wait("the other one, waiting", lambda: stays.report().state == "meeting")
    assert stays.process.exit is None
    # It was no failure of anybody's.
    assert stays.report().failures == ()


def test_whoever_looks_now_and_then_learns_of_the_save_of_a_pod_that_leaves(start):
    job = start(1, "train.py", "1000000")
    job.wait_step(3)
    (worker,) = job.workers
    job.signal(worker.process, signal.SIGTERM)
    last = worker.report()
    while worker.process.exit is None:
        last = worker.report() or last
        time.sleep(0.4)
    assert [[last.progress.checkpoint_step]] == agreed_steps(job, 1)


def test_stop_saves_when_it_is_told_to(start):
    job = start(1, "train.py", "1000000")
    job.wait_step(3)
    assert job.workers[0].send(Stop(1, save=True))[0] == 200
    assert job.exit_code(job.workers[0]) == 143
    assert len(agreed_steps(job, 1)[0]) == 1


def test_stop_without_a_save_leaves_at_once(start):
    job = start(1, "train.py", "1000000")
    job.wait_step(3)
    assert job.workers[0].send(Stop(1, save=False))[0] == 200
    assert job.exit_code(job.workers[0]) == 143
    assert not (job.folder / "agreed-0").exists()


def test_sigterm_before_the_first_meeting_just_leaves(start):
    job = start(1, "train.py", "1", meet=False)
    job.wait("a worker that listens", job.workers[0].report)
    job.signal(job.workers[0].process, signal.SIGTERM)
    assert job.exit_code(job.workers[0]) == 143


def test_a_script_that_cannot_save_is_not_waited_for(start):
    job = start(1, "plain.py", "1000000")
    job.wait("a step", lambda: "step 3" in job.output())
    job.signal(job.workers[0].process, signal.SIGTERM)
    assert job.exit_code(job.workers[0], patience=20) == 143
    assert "could not make one" in job.output()


def trains(job, ranks, place):
    job.wait("all ranks", lambda: all((job.folder / f"trains-{place}-{rank}").exists() for rank in range(ranks)))


def test_a_script_that_saves_by_itself_on_sigterm_has_the_time_to(start):
    job = start(1, "own_handler.py", "1.0")
    trains(job, 1, "1-1")
    job.signal(job.workers[0].process, signal.SIGTERM)
    assert job.exit_code(job.workers[0]) == 143, "it left, and was not through"
    assert (job.folder / "saved-1-1-0").exists()


BEHIND_A_SHELL = """
import pathlib, signal, sys, time
folder, asked = pathlib.Path(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
(folder / "trains-1-1-0").touch()
while not asked:
    time.sleep(0.01)
time.sleep(1.0)
(folder / "saved").write_text(str(len(asked)))
"""


def test_a_script_behind_a_shell_has_the_time_too_and_the_shell_goes_on_after_it(start, tmp_path):
    """A shell that waits for its command dies of the signal, and hands it on to nobody."""
    script = tmp_path / "saves.py"
    script.write_text(BEHIND_A_SHELL)
    text = f"cd /; sh -c '{sys.executable} {script} {tmp_path}; true'; echo then >> {tmp_path}/saved"
    job = start(1, "bash", "-c", text)
    trains(job, 1, "1-1")
    job.signal(job.workers[0].process, signal.SIGTERM)
    assert job.exit_code(job.workers[0]) == 143
    assert (tmp_path / "saved").read_text() == "1then\n", "told once, and ended by itself"


def test_the_ranks_of_other_pods_that_save_with_it_have_the_time_too(start):
    job = start(2, "own_handler.py", "0.7", env={"DTJ_HEARTBEAT": "0.1", "DTJ_HEARTBEAT_MISSES": "2"})
    trains(job, 2, "1-1")
    job.signal(job.workers[1].process, signal.SIGTERM)
    assert job.exit_code(job.workers[1]) == 143
    stays = job.workers[0]
    job.wait("the other one, waiting", lambda: stays.report().state == "meeting")
    assert (job.folder / "saved-1-1-0").exists()
    assert (job.folder / "saved-1-1-1").exists()
    assert stays.report().failures == ()
    job.start_worker(1)
    job.meet()
    trains(job, 2, "2-1")


def test_a_script_with_a_handler_that_never_ends_is_ended_when_the_grace_is_over(start):
    job = start(1, "own_handler.py", "1000", env={"DTJ_GRACE_SECONDS": "2"})
    trains(job, 1, "1-1")
    job.signal(job.workers[0].process, signal.SIGTERM)
    assert job.exit_code(job.workers[0], patience=30) == 143
    assert not (job.folder / "saved-1-1-0").exists()


def test_two_pods_that_leave_one_after_the_other_save_once(start):
    job = start(2, "slow_save.py", "1.5")
    job.wait_step(5)
    job.signal(job.workers[0].process, signal.SIGTERM)
    job.wait("the save", lambda: (job.folder / "saving").exists())
    job.signal(job.workers[1].process, signal.SIGTERM)
    assert [job.exit_code(worker) for worker in job.workers] == [143, 143]
    assert job.output().count("saved before leaving") == 2
    assert [len(list((job.folder / "work/checkpoints").glob("step-*")))] == [1]
