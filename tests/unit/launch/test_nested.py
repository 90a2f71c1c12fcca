"""Commands that start ranks themselves: taken apart where that means the same, else refused with the line to write."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import sys

import pytest

from dtj_trainer.launch.ranks.command import parse_command
from dtj_trainer.launch.ranks.nested import refuse_nested, unnested
from dtj_trainer.launch.settings import BadConfigError

RUN = "-m torch.distributed.run"
BESIDE = str(pathlib.Path(sys.executable).parent / "python")
TORCHRUN = str(pathlib.Path(sys.executable).parent / "torchrun")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text("")
    (tmp_path / "run.sh").write_text("set -e\n# torchrun other.py\nexport A=b\ntorchrun --nnodes 2 train.py\n")
    (tmp_path / "start").write_text("#!/usr/bin/env bash\ncd /x && accelerate launch train.py\n")
    (tmp_path / "start").chmod(0o755)
    (tmp_path / "loop.sh").write_text("bash loop.sh\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{pathlib.Path(sys.executable).parent}:{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("torchrun train.py --epochs 3", f"{BESIDE} train.py --epochs 3"),
        ("torchrun --standalone --nproc_per_node=2 train.py", f"{BESIDE} train.py"),
        ("torchrun --nnodes=1:4 --nproc-per-node 2 --max-restarts 3 train.py", f"{BESIDE} train.py"),
        ("torchrun --nnodes 2 --rdzv_backend=c10d --rdzv-endpoint=$X:29400 train.py", f"{BESIDE} train.py"),
        ("torchrun --node_rank=1 --master_addr=h --master_port=1 -m pkg.train -x", f"{BESIDE} -m pkg.train -x"),
        ("torchrun --nproc_per_node=gpu train.py", f"{BESIDE} train.py"),
        ("torchrun --no-python ./train --x", "./train --x"),
        (f"python {RUN} --nnodes=1 --nproc_per_node=2 train.py", "python train.py"),
        (f"python -u {RUN} train.py", "python train.py"),
        ("python -um torch.distributed.run train.py", "python train.py"),
        ("python -m torch.distributed.launch --use-env --nproc_per_node=2 train.py", "python train.py"),
        ("bash -c 'torchrun train.py --lr 1'", f"{BESIDE} train.py --lr 1"),
        ("sh -c 'exec torchrun --standalone train.py'", f"{BESIDE} train.py"),
        ("bash -lc 'python -m torch.distributed.run train.py'", "python train.py"),
        ("bash -o pipefail -c 'torchrun train.py'", f"{BESIDE} train.py"),
        ("bash -c 'exec -a name torchrun train.py'", f"{BESIDE} train.py"),
        ("bash -c 'command -p torchrun train.py'", f"{BESIDE} train.py"),
        ("bash -c 'time -p torchrun train.py'", f"{BESIDE} train.py"),
        ("python -u {TORCHRUN} --standalone train.py --x", "python train.py --x"),
    ],
)
def test_torchrun_is_left_out_where_the_job_says_it_all(line, ours):
    assert unnested(shlex.split(line.replace("{TORCHRUN}", TORCHRUN)), 2) == shlex.split(ours)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("torchrun --nproc_per_node=8 train.py", r"write command: \[.*python, train.py\] and .*processesPerWorker: 8"),
        ("torchrun --virtual-local-rank train.py", "what --virtual-local-rank asks for is not there"),
        ("torchrun --no-such-option train.py", "torchrun: "),
        ("torchrun", "torchrun: "),
        ("python -m torch.distributed.launch train.py", "local rank in LOCAL_RANK"),
        ("accelerate launch --num_processes 1 --cpu train.py --x 1", r"write command: \[python, train.py, --x, 1\]"),
        ("python -m accelerate.commands.launch train.py", r"\[python, train.py\]"),
        ("deepspeed --num_gpus=4 train.py --deepspeed z.json", r"\[python, train.py, --deepspeed, z.json\]"),
        ("mpirun -np 4 python train.py", r"\[python, train.py\]"),
        ("env A=b torchrun train.py", r"write command: \[.*python, train.py\]"),
        ("sh -c 'exec accelerate launch --cpu train.py'", "accelerate launch starts ranks itself"),
        ("bash -c 'cd /x && torchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c 'A=b torchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c 'torchrun train.py > log'", "torchrun starts ranks itself"),
        ("bash -c 'pip install x; python -m torch.distributed.run train.py'", "torchrun starts ranks itself"),
        ("bash -c 'if true; then torchrun train.py; fi'", "torchrun starts ranks itself"),
        ("bash -c 'torchrun $ARGS train.py'", "torchrun starts ranks itself"),
        ("python -X dev -W ignore -m torch.distributed.run --nproc_per_node=8 train.py", "processesPerWorker: 8"),
        ("env -u A torchrun train.py", "torchrun starts ranks itself"),
        ("env A=b bash -c 'torchrun train.py'", "torchrun starts ranks itself"),
        ("timeout 3600 torchrun train.py", "torchrun starts ranks itself"),
        ("timeout -k 5 3600 nice -n 5 python -m torch.distributed.run train.py", "torchrun starts ranks itself"),
        ("uv run --with x torchrun train.py", "torchrun starts ranks itself"),
        ("conda run -n e accelerate launch train.py", "accelerate launch starts ranks itself"),
        ("conda run -n test torchrun train.py", "torchrun starts ranks itself"),
        ("bash -c 'python -um torch.distributed.run train.py; date'", "torchrun starts ranks itself"),
        ("tini -- bash run.sh", "torchrun starts ranks itself"),
        ("bash -c 'cd . && bash run.sh'", "torchrun starts ranks itself"),
        ("bash -c 'exec ./start'", "accelerate launch starts ranks itself"),
        ("bash run.sh", "torchrun starts ranks itself"),
        ("bash -c 'case $X in (a|torchrun) cd /x;; *) torchrun train.py;; esac'", "torchrun starts ranks itself"),
        ("bash -c 'case $X in a) cd /x;; esac; torchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c 'cat <<E\ntext\nE\ntorchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c 'bash -s <<-E\n\ttorchrun train.py\n\tE'", "torchrun starts ranks itself"),
        ("bash -c 'cat <<E | sh\ntorchrun train.py\nE'", "torchrun starts ranks itself"),
        ("bash -c 'echo $((1 << 2)) # <<E\ntorchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c 'python x.py # as ever\ntorchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c '# accelerate launch \\\ntorchrun train.py'", "torchrun starts ranks itself"),
        ("bash -eo pipefail -c 'cd /x; torchrun train.py'", "torchrun starts ranks itself"),
        ("bash -ceuo pipefail 'cd /x; torchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c +e -- 'cd /x; torchrun train.py'", "torchrun starts ranks itself"),
        ("bash --rcfile /x -o pipefail run.sh", "torchrun starts ranks itself"),
        ("bash -c 'bash -euo pipefail <<E\ntorchrun train.py\nE'", "torchrun starts ranks itself"),
        ("bash -c 'eval \"torchrun train.py\"'", "torchrun starts ranks itself"),
        ("bash -c 'eval exec torchrun train.py'", "torchrun starts ranks itself"),
        ("bash -c 'echo `torchrun train.py`'", "torchrun starts ranks itself"),
        ("bash -c 'X=`cd /x && torchrun train.py 2>&1`'", "torchrun starts ranks itself"),
        ("bash -c 'X=$(torchrun train.py)'", "torchrun starts ranks itself"),
        ("bash -c 'echo \"done: $(cd /x; torchrun train.py)\"'", "torchrun starts ranks itself"),
        ("bash -c 'echo train.py | xargs torchrun --standalone'", "torchrun starts ranks itself"),
        ("xargs -a /list -n 1 torchrun", "torchrun starts ranks itself"),
        ("env -S 'torchrun train.py'", r"write command: \[.*python, train.py\]"),
        ("env -i -S'A=b torchrun --standalone' train.py", r"write command: \[.*python, train.py\]"),
        ("env --split-string='python -m torch.distributed.run' train.py", "torchrun starts ranks itself"),
        ("env -C /x torchrun train.py", "torchrun starts ranks itself"),
        ("sudo -E -u me -D /x torchrun train.py", "torchrun starts ranks itself"),
        ("/usr/bin/nohup torchrun train.py", "torchrun starts ranks itself"),
        ("nohup nice -n 5 timeout 60 exec torchrun train.py", "torchrun starts ranks itself"),
        ("flock /x/lock torchrun train.py", "torchrun starts ranks itself"),
        ("flock /x/lock -c 'torchrun train.py'", "torchrun starts ranks itself"),
        ("su me -c 'cd /x && torchrun train.py'", "torchrun starts ranks itself"),
        ("python -u {TORCHRUN} --nproc_per_node=8 train.py", "processesPerWorker: 8"),
        ("bash -c 'cd /x; python {TORCHRUN} train.py'", r"write command: \[python, train.py\]"),
        ("./start", "accelerate launch starts ranks itself"),
        ("start", "accelerate launch starts ranks itself"),
    ],
)
def test_everything_else_that_starts_ranks_is_refused_with_the_line_to_write(line, text):
    with pytest.raises(BadConfigError, match=text):
        parse_command(shlex.split(line.replace("{TORCHRUN}", TORCHRUN)), 2)


@pytest.mark.parametrize(
    "line",
    [
        "python train.py torchrun",
        "python torchrun.py",
        "bash -c 'echo torchrun; python train.py'",
        "bash -c 'pip install accelerate deepspeed && python train.py'",
        'bash -c "echo \'no end"',
        "bash -c 'case $1 in\n  torchrun) python train.py;;\n  a | accelerate | mpirun ) ;;\nesac\npython train.py'",
        "bash -c 'case $X in torchrun) case $Y in mpirun) python a.py;; esac;; deepspeed) python b.py; esac'",
        "bash -c 'cat > run.sh <<E\ntorchrun train.py\nE\npython train.py'",
        "bash -c \"cat <<-'THE END'\n\ttorchrun it's\n\tTHE END\npython train.py\"",
        "bash -c 'python - <<E; python train.py\ntorchrun = 1\ntorchrun\nE'",
        "bash -c 'python -c \"\ntorchrun = 1\ntorchrun\n\"'",
        "bash -c 'torchrun() { python train.py; }'",
        "accelerate env",
        "torchrun --help",
        "bash -c 'torchrun -h; python -m torch.distributed.run --help; python train.py'",
        "bash -c 'accelerate launch --help; mpirun --version; python train.py'",
        "bash -c 'which torchrun; X=`which torchrun`; python train.py'",
        "bash -c 'echo \"$(which torchrun) (torchrun)\"; python train.py'",
        "bash -c 'echo \\`torchrun x\\`; python train.py'",
        "bash -c \"echo '`torchrun x` $(torchrun)'; python train.py\"",
        "bash -c 'eval \"$X\"; echo eval torchrun; python train.py'",
        "env -S 'python train.py torchrun'",
        "env -u S python train.py -S torchrun",
        "flock /x/lock -c 'python train.py torchrun'",
        "python train.py --launcher torchrun",
        "timeout 60 python train.py torchrun",
        "env A=torchrun python train.py",
        "timeout 60",
        "timeout 60 ls --launcher torchrun",
        "python -uc pass -m torch.distributed.run",
        "env A=1 ls --engine deepspeed",
        "uv run train.py --launcher torchrun",
        "python -X dev train.py -m torch.distributed.run",
        "python -c pass -m torch.distributed.run",
        "bash loop.sh",
        "sh missing.sh",
        "bash",
    ],
)
def test_a_command_that_only_names_one_is_left_alone(line):
    assert unnested(shlex.split(line), 2) == shlex.split(line)


@pytest.mark.parametrize("words", [["torchrun"], ["python", *RUN.split()]], ids=["torchrun", RUN])
def test_two_pods_with_torchrun_in_their_command_are_one_world(start, words):
    script = pathlib.Path(__file__).parent / "scripts" / "world.py"
    job = start(2, *words, "--standalone", "--nproc_per_node=1", str(script), "--x")
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    assert sorted(line for line in job.output().splitlines() if "is rank" in line) == [
        "[rank 0] is rank 0 of 2 ['--x']",
        "[rank 1] is rank 1 of 2 ['--x']",
    ]
    notes = [line for line in job.output().splitlines() if "dtj starts the ranks: instead of `" in line]
    assert len(notes) == 2
    assert all(f"{words[-1]} --standalone" in note for note in notes)


def test_a_launcher_that_cannot_take_its_command_apart_ends_before_anything_runs(start):
    job = start(2, "sh", "-c", "exec accelerate launch --num_processes 1 train.py", meet=False)
    assert [job.exit_code(worker) for worker in job.workers] == [64, 64]
    assert "write command: [python, train.py]" in job.termination_log(0).read_text()


@pytest.mark.parametrize(
    "text",
    [
        "CMD=torchrun; $CMD --standalone --nproc_per_node=1 {script} --x",
        "(echo '#!/bin/sh'; echo 'exec torchrun --standalone \"$@\"') > $RUN; chmod +x $RUN; $RUN {script} --x",
        "timeout 3000 sh -c \"$(printf %s torch; printf 'run --standalone {script} --x')\"; true",
    ],
    ids=["a variable", "a script of the moment", "a text of the moment"],
)
def test_one_that_no_reading_of_the_command_tells_is_found_as_it_runs(start, tmp_path, text):
    """Two worlds of one would train, each alone, and both succeed."""
    script = pathlib.Path(__file__).parent / "scripts" / "waits.py"
    env = {"PATH": f"{pathlib.Path(TORCHRUN).parent}:{os.environ['PATH']}"}
    job = start(2, "bash", "-c", f"RUN={tmp_path}/run-$RANK; {text.format(script=script)}", env=env)
    assert [job.exit_code(worker) for worker in job.workers] == [64, 64]
    for worker in job.workers:
        told = job.termination_log(worker.index).read_text()
        assert "torchrun starts ranks itself" in told
        assert re.search(rf"write command: \[.*python.*, {script}, --x\]", told), told


@pytest.mark.parametrize("words", [["--help"], ["--nnodes", "1", "--help"]])
def test_asking_torchrun_for_its_options_ends_no_launcher(words, capsys):
    """Neither by exit code 0, as if the training had been done, nor in the thread that looks after the ranks."""
    for look in (unnested, refuse_nested):
        with contextlib.suppress(BadConfigError):
            look([sys.executable, "-m", "torch.distributed.run", *words], 2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("called", ["python", "my-training"])
def test_what_a_script_of_python_starts_is_its_own_affair(start, tmp_path, called):
    """Under another name too, as by setproctitle."""
    (tmp_path / called).symlink_to(sys.executable)
    script = tmp_path / "starts.py"
    script.write_text(
        "import subprocess, sys\n"
        "words = [sys.argv[1], '-m', 'torch.distributed.run', '--nnodes', '1', '--help']\n"
        "sys.exit(subprocess.Popen(words, stdout=subprocess.DEVNULL).wait())\n"
    )
    job = start(1, "bash", "-c", f"cd /; {tmp_path / called} {script} {sys.executable}")
    assert job.exit_code(job.workers[0]) == 0, job.output()


def test_a_text_of_any_depth_is_read_without_an_error():
    assert unnested(["bash", "-c", '"$(' * 2000 + "date"], 2)
