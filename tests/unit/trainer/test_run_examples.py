"""`dtj run` runs the examples to their end, and goes on where it was stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.unit, pytest.mark.timeout(1200)]

EXAMPLES = Path(__file__).parents[3] / "examples"
RUN = [sys.executable, "-c", "import sys; from dtj_trainer.cli import main; sys.exit(main())", "run"]
PATIENCE = 500.0
"""Seconds: imports on a busy machine."""
SHORT: dict[str, tuple[dict[str, str], str, str]] = {
    "own-script": ({'"2000"': '"25"', "{steps: 100}": "{steps: 10}"}, "model.pt", "done at step 25"),
    "hf-trainer": ({'"600"': '"12"', "{steps: 20}": "{steps: 5}"}, "model/model.safetensors", "done at step 12"),
    "plain-torchrun-script": ({'"3000"': '"100"'}, "checkpoint.pt", "done at step 100"),
}
"""What is changed in the manifest so that it is soon done, a file that it leaves, and what it says in the end."""
IN_A_SHELL = {
    '[python, /code/own_script.py, --steps, "2000"]': '[bash, -c, "cd /code && python own_script.py --steps $STEPS"]',
    "env:\n": "envFrom: [{configMapRef: {name: settings}}]\n            env:\n",
}
SETTINGS = '\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {STEPS: "3"}}\n'
SAVES = {"own-script": ["step-10.i1", "step-20.i1"], "hf-trainer": ["step-10.i1", "step-5.i1"]}


def shortened(file: Path, example: str, changes: dict[str, str]) -> Path:
    text = (EXAMPLES / f"{example}.yaml").read_text()
    for long, short in changes.items():
        assert long in text
        text = text.replace(long, short)
    file.write_text(text)
    return file


def test_every_example_of_a_script_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {*SHORT, "ner"}


@pytest.mark.parametrize("example", SHORT)
def test_an_example_runs_saves_and_ends(tmp_path: Path, example: str) -> None:
    changes, result, says = SHORT[example]
    file, out = shortened(tmp_path / "job.yaml", example, changes), tmp_path / "out"
    ended = subprocess.run(
        [*RUN, str(file), "--workers", "2", "--out", str(out), "-o", "json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    log = (out / "run.log").read_text()
    assert ended.returncode == 0, ended.stderr + log
    assert json.loads(ended.stdout) == {"work": str(out)}
    assert (out / result).is_file()
    assert says in log
    assert sorted(path.name for path in (out / "checkpoints").glob("step-*")) == SAVES.get(example, [])


def test_a_script_in_a_shell_has_its_file_its_variables_and_this_python(tmp_path: Path) -> None:
    file, out = shortened(tmp_path / "job.yaml", "own-script", IN_A_SHELL), tmp_path / "out"
    file.write_text(file.read_text() + SETTINGS)
    command = [*RUN, str(file), "--workers", "1", "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr + (out / "run.log").read_text()
    assert "done at step 3" in (out / "run.log").read_text()


def test_a_run_that_ctrl_c_has_stopped_goes_on_from_what_it_saved_then(tmp_path: Path) -> None:
    out = tmp_path / "out"
    changes = {'"2000"': '"1000000"', "{steps: 100}": "{steps: 1000000}"}
    command = [*RUN, str(shortened(tmp_path / "job.yaml", "own-script", changes)), "--workers", "2", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            # Until a step is told; no save is due by itself.
            deadline = time.monotonic() + PATIENCE
            said = ""
            while not (told := running.stderr.readline()).startswith("step "):
                said += told
                assert told, said
                assert time.monotonic() < deadline, said
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=PATIENCE)
        finally:
            running.kill()
    assert running.returncode == 130, said
    assert "stopped; the same command goes on from the last checkpoint" in said
    (saved,) = (out / "checkpoints").glob("step-*")
    step = int(saved.name.removeprefix("step-").partition(".")[0])
    assert step >= int(told.split()[1].partition("/")[0])

    shortened(tmp_path / "job.yaml", "own-script", {'"2000"': f'"{step + 20}"', "{steps: 100}": "{steps: 1000000}"})
    before = len((out / "run.log").read_text())
    again = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    log = (out / "run.log").read_text()[before:]
    assert again.returncode == 0, again.stderr + log
    assert f"rank 0 of 2 goes on from step {step}" in log
    assert f"rank 1 of 2 goes on from step {step}" in log
    assert f"done at step {step + 20}" in log
