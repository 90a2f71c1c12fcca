"""A mistake in a manifest or a data file is told in moments: nobody waits for libraries that have no part in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from trainer_fixture import config_of

LARGE = ("matplotlib", "seqeval", "sklearn", "torch", "transformers")
"""Each takes from half a second to several to import."""


def imported(program: str, *argv: str) -> tuple[list[str], str]:
    """Which of these a program imports, and what it says on standard error; it ends with the exit code of a mistake.

    Args:
        program: sets `code`.
        argv: its arguments.
    """
    env = {name: value for name, value in os.environ.items() if name != "TORCHELASTIC_ERROR_FILE"}
    text = f"import sys\n{program}\nprint([name for name in {LARGE} if name in sys.modules])\nsys.exit(code)"
    ran = subprocess.run([sys.executable, "-c", text, *argv], capture_output=True, text=True, env=env)
    assert ran.returncode == 64, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1].replace("'", '"')), ran.stderr


@pytest.fixture
def bad(root: Path, tmp_path: Path) -> dict:
    """A job's configuration whose data have a mistake in their second line."""
    data = tmp_path / "data.conll"
    data.write_text("anna B-PER\nworks\nat O\n\n")
    return config_of(root, data={**config_of(root)["data"], "file": str(data)})


def test_dtj_run_tells_of_a_bad_data_file_without_torch(bad: dict, tmp_path: Path) -> None:
    job = {
        "apiVersion": "dtj.dev/v1alpha1",
        "kind": "DistributedTrainingJob",
        "metadata": {"name": "ner"},
        "spec": {"workers": {"template": {"spec": {"containers": [{"name": "trainer"}]}}}, "trainer": bad},
    }
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job))
    found, said = imported("from dtj_trainer.cli.main import main\ncode = main(sys.argv[1:])", "run", str(file))
    assert found == []
    assert "data.conll:2" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("mistake", ["in a data file", "in the configuration", "no model"])
def test_so_does_a_rank(bad: dict, tmp_path: Path, mistake: str) -> None:
    raw = {
        "in a data file": bad,
        "in the configuration": {**bad, "epochs": 0},
        "no model": {**bad, "model": {"path": "nowhere"}},
    }[mistake]
    config = tmp_path / "config.json"
    config.write_text(json.dumps(raw))
    found, said = imported("from dtj_trainer.train import main\ncode = main(sys.argv[1:])", "--config", str(config))
    assert found == []
    assert {"in a data file": "data.conll:2", "in the configuration": "epochs", "no model": "nowhere"}[mistake] in said
    assert "Traceback" not in said


def test_what_an_evaluation_and_the_report_need_is_imported_by_no_start() -> None:
    """A rank that is started anew after a failure imports all that its start imports."""
    found, _ = imported("import dtj_trainer.training\ncode = 64")
    assert found == ["torch", "transformers"]
