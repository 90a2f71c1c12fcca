"""What the launchers survive: a rank, a launcher; and that nothing of the old world is left running."""

import os
import shlex
import signal
import subprocess

from documented import documented
from launcher_jobs import is_alive


def test_a_killed_rank_trains_on_in_the_same_launchers(start):
    job = start(3, "train.py", "1000000", env={"DTJ_SAVE_EVERY_STEPS": "5"})
    before = job.wait_step(12)
    launchers = [worker.uid for worker in job.workers]
    old = job.pids()

    job.kill_rank(1)

    after = job.wait_step(6, round=2)
    assert [report.pod_uid for report in after] == launchers
    assert {report.round for report in after} == {2}
    assert {report.incarnation for report in after} == {1}
    assert {report.world_size for report in after} == {3}
    assert sorted(report.group_rank for report in after) == [0, 1, 2]
    restored = int((job.folder / "restored-1-2-0").read_text().partition("-")[2].partition(".")[0])
    assert restored >= max(report.progress.checkpoint_step for report in before)
    # The survivors' old ranks are gone, and only the pod whose rank was killed tells of a failure.
    assert not any(is_alive(pid) for pid in old.values())
    failures = {report.index: report.failures for report in after}
    assert failures[0] == failures[2] == ()
    (failure,) = failures[1]
    assert (failure.rank, failure.local_rank, failure.round, failure.exit_code) == (1, 0, 1, -signal.SIGKILL)
    assert not failure.user_error


def test_totals_of_the_job_go_on_from_the_checkpoint(start):
    job = start(2, "train.py", "40", env={"DTJ_SAVE_EVERY_STEPS": "10"})
    job.wait_step(15)
    job.kill_rank(0)
    final = job.wait_reports("done", lambda r: r.state == "done")
    assert [report.progress.step for report in final] == [40, 40]
    assert [report.progress.tokens for report in final] == [40 * 32, 40 * 32]
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]


def test_a_killed_launcher_leaves_no_ranks_and_the_others_meet_under_the_next_incarnation(start):
    job = start(3, "train.py", "1000000", env={"DTJ_SAVE_EVERY_STEPS": "5"})
    job.wait_step(7)
    orphan = job.pids()[2]
    survivors = [worker.uid for worker in job.workers[:2]]

    job.signal(job.workers[2].process, signal.SIGKILL)
    job.wait("the end of its rank", lambda: not is_alive(orphan))
    job.start_worker(2)
    job.meet()

    after = job.wait_step(8, incarnation=2)
    assert [report.pod_uid for report in after[:2]] == survivors
    assert {(report.incarnation, report.round, report.world_size) for report in after} == {(2, 1, 3)}
    assert (job.folder / "restored-2-1-0").read_text().endswith(".i1")


def test_a_worker_that_comes_after_the_end_has_nothing_to_do(start):
    job = start(1, "train.py", "3")
    assert job.exit_code(job.workers[0]) == 0
    late = job.start_worker(0)
    job.wait("a worker that listens", late.report)
    late.send(job.message)
    assert job.exit_code(late) == 0
    assert "round" not in job.output()


def test_ranks_that_have_finished_come_back_when_another_one_fails(start):
    job = start(2, "late_failure.py")
    final = job.wait_reports("done in the second round", lambda r: r.state == "done" and r.round == 2)
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    assert (final[1].failures[0].exit_code, final[0].failures) == (7, ())


def test_rounds_that_end_at_once_are_begun_ever_more_slowly(start):
    job = start(1, "crash.py")
    lines = job.folder / "began"
    began = job.wait("a third round", lambda: lines.exists() and len(found := lines.read_text().split()) > 2 and found)
    began = [float(line) for line in began]
    assert began[2] - began[1] >= 1.0


def test_orphans_of_a_rank_end_with_it(start):
    job = start(1, "with_child.py")
    child = int(job.wait("a child", lambda: (p := job.folder / "child").exists() and p.read_text()))
    assert is_alive(child)
    os.kill(int((job.folder / "parent").read_text()), signal.SIGKILL)
    job.wait("the end of the child", lambda: not is_alive(child))


def test_the_command_that_the_documentation_kills_a_rank_with_does_so(start):
    """In a pod the launcher is process 1."""
    command = shlex.split(documented("docs/recovery.md", "kubectl exec"))[-1]
    job = start(1, "train.py", "1000000", processes=2)
    job.wait_step(3)
    ranks, launcher = job.pids(), job.workers[0].process.pid
    subprocess.run(["sh", "-c", command.replace("/proc/1/task/1/", f"/proc/{launcher}/task/{launcher}/")], check=True)
    job.wait_step(3, round=2)
    assert not any(map(is_alive, ranks.values()))
    assert [failure.exit_code for failure in job.workers[0].report().failures] == [-9]


def test_what_a_rank_started_in_a_session_of_its_own_ends_with_the_round(start):
    """It may hold a GPU's memory and a port, which the next round needs."""
    job = start(1, "with_daemon.py")
    second = job.wait("the second round", lambda: (p := job.folder / "daemon-2").exists() and p.read_text())
    assert not is_alive(int((job.folder / "daemon-1").read_text()))
    assert is_alive(int(second))
    job.signal(job.workers[0].process, signal.SIGTERM)
    assert job.exit_code(job.workers[0]) == 143
    assert not is_alive(int(second))
