"""What a rank sees: torchrun's environment, an interpreter of its own, and its output where people look."""

import json
import multiprocessing
import os
import pathlib
import sys

import pytest


def seen(job, ranks) -> list[dict]:
    files = [job.folder / f"seen-{rank}.json" for rank in range(ranks)]
    job.wait("what each rank saw", lambda: all(file.exists() and file.read_text().endswith("}") for file in files))
    return [json.loads(file.read_text()) for file in files]


def test_a_forked_rank_sees_an_interpreter_started_for_it(start):
    job = start(2, "look.py", "a", "--b", processes=2)
    reports = job.wait_reports("training", lambda r: r.state in ("training", "done") and r.round == 1)
    ranks = seen(job, 4)
    script = pathlib.Path(__file__).parent / "scripts" / "look.py"
    for rank, one in enumerate(ranks):
        assert one["argv"] == [str(script), "a", "--b"]
        assert (one["name"], one["file"], one["path0"]) == ("__main__", str(script), str(script.parent))
        assert one["main_is_ours"]
        assert one["stdin"] == ""
        env = one["env"]
        assert (env["RANK"], env["LOCAL_RANK"], env["GROUP_RANK"]) == (str(rank), str(rank % 2), str(rank // 2))
        assert (env["WORLD_SIZE"], env["LOCAL_WORLD_SIZE"], env["GROUP_WORLD_SIZE"]) == ("4", "2", "2")
        assert env["MASTER_ADDR"] == "127.0.0.1"
        assert env["TORCHELASTIC_USE_AGENT_STORE"] == "False"
        assert env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
        assert (env["DTJ_INCARNATION"], env["DTJ_ROUND"], env["TORCHELASTIC_RESTART_COUNT"]) == ("1", "1", "0")
        assert env["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1", "a look for GPUs would initialise CUDA, for good in a fork"
        assert one["session"] == one["pid"]
        assert one["connects"] == "dtj_trainer.launch.ranks.first_connect", "it looks often for rank 0's store"
    assert len({one["env"]["MASTER_PORT"] for one in ranks}) == 1
    assert len({one["random"] for one in ranks}) == 4
    assert {report.run_as for report in reports} == {"fork"}
    assert {report.world_size for report in reports} == {4}


def test_a_foreign_command_runs_as_a_subprocess(start):
    script = pathlib.Path(__file__).parent / "scripts" / "look.py"
    job = start(1, "bash", "-c", f"exec python {script} x", env={"PATH": f"{pathlib.Path(sys.executable).parent}:/bin"})
    (one,) = seen(job, 1)
    assert (one["argv"][1:], one["env"]["WORLD_SIZE"], one["session"] == one["pid"]) == (["x"], "1", True)
    (report,) = job.wait_reports("done", lambda r: r.state == "done")
    assert report.run_as == "subprocess"
    assert job.exit_code(job.workers[0]) == 0


def test_a_script_that_is_named_by_a_relative_path_knows_where_it_lies(start):
    """It may change its directory, as Hydra does, and look for what lies beside it then."""
    script = pathlib.Path(__file__).parent / "scripts" / "look.py"
    job = start(1, "python", os.path.relpath(script))
    (one,) = seen(job, 1)
    assert (one["argv"], one["file"], one["loader"]) == ([os.path.relpath(script)], str(script), "SourceFileLoader")


def test_a_foreign_command_may_end_its_pipes(start):
    job = start(1, "sh", "-c", "yes | head -1")
    assert job.exit_code(job.workers[0]) == 0
    assert "[rank 0] y\n" in job.output()
    assert "Broken pipe" not in job.output()


def test_without_preloading_a_script_may_set_what_torch_reads_when_it_is_imported(start):
    job = start(1, "environment_first.py", env={"DTJ_LAUNCHER_PRELOAD": "false"})
    # Torch is imported anew.
    said = job.wait("what it sees", lambda: [line for line in job.output().splitlines() if "threads" in line], 200)
    assert said == ["[rank 0] threads, compile disabled: 2 True"]
    assert job.workers[0].report().run_as == "subprocess"


def test_a_module_runs_as_the_interpreter_would_run_it(start):
    job = start(1, "python", "-m", "json.tool", "--help")
    job.wait_reports("done", lambda r: r.state == "done")
    assert "usage: python" in job.output() or "usage: json.tool" in job.output()


@pytest.mark.parametrize("method", ["", "forkserver"], ids=lambda method: method or "Python's own choice")
def test_data_loaders_work_however_their_processes_are_started(start, method):
    """From Python 3.14 on they are not forked from the rank: they import the script that the rank runs, by its file."""
    job = start(1, "loads_data.py", *[method] * bool(method))
    assert job.exit_code(job.workers[0]) == 0, job.output()
    assert f"loaded {method or multiprocessing.get_start_method()} {[n * n for n in range(8)]}" in job.output()


def test_output_goes_to_the_pods_log_with_the_rank_and_to_a_file_of_each_round(start):
    job = start(2, "noisy.py")
    job.wait_reports("done in the second round", lambda r: r.state == "done" and r.round == 2)
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    lines = job.output().splitlines()
    for rank in (0, 1):
        assert f"[rank {rank}] out of round 1" in lines
        assert f"[rank {rank}] err of round 2" in lines
        assert f"[rank {rank}] no newline at the end" in lines
        for round in (1, 2):
            text = (job.folder / f"work/logs/1-{round}/{rank}.log").read_text()
            assert text.startswith(f"out of round {round}\nerr of round {round}\n")


def test_what_a_script_leaves_open_is_written_and_its_exit_handlers_run(start):
    job = start(1, "leaves_open.py")
    assert job.exit_code(job.workers[0]) == 0
    assert (job.folder / "left").read_text() == "written"
    assert (job.folder / "handler").read_text() == "ran"
    assert (job.folder / "thread").read_text() == "joined"


@pytest.mark.parametrize(("code", "round"), [("None", 1), ("0", 1), ("'some text'", 2), ("256", 1)])
def test_exit_codes_mean_what_they_mean_to_the_interpreter(start, code, round):
    job = start(1, "exits.py", code)
    job.wait_reports("done", lambda r: r.state == "done" and r.round == round)
    assert ("some text" in job.output()) is (round == 2)
