"""The scripts inside the example manifests are the files beside them, which are linted and run."""

import ast
import pathlib

import pytest
import yaml

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("script", sorted((EXAMPLES / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_the_manifest_carries_the_script_and_runs_it(script):
    manifest = EXAMPLES / f"{script.stem.replace('_', '-')}.yaml"
    job, config = yaml.safe_load_all(manifest.read_text())
    assert config["data"] == {script.name: script.read_text()}
    assert config["metadata"]["name"] == job["spec"]["workers"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    command = job["spec"]["workers"]["template"]["spec"]["containers"][0]["command"]
    assert command[:2] == ["python", f"/code/{script.name}"]


def test_the_plain_script_knows_nothing_of_dtj():
    tree = ast.parse((EXAMPLES / "scripts/plain_torchrun_script.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "dtj" not in imported


def test_the_plain_script_ends_well_when_it_resumes_behind_its_last_step(start):
    """A pod is lost between the last checkpoint and the end: nothing is left to be trained."""
    script = str(EXAMPLES / "scripts/plain_torchrun_script.py")
    for _ in range(2):
        job = start(2, "python", script, "50")
        assert [job.exit_code(worker) for worker in job.workers] == [0, 0], job.output()
    assert job.output().count("done at step 50") == 2


def test_the_transformers_script_makes_no_step_more_when_it_resumes_behind_its_last_one(start):
    script = str(EXAMPLES / "scripts/hf_trainer.py")
    for times in (1, 2):
        job = start(2, "python", script, "--steps", "10", env={"DTJ_SAVE_EVERY_STEPS": "5"})
        assert [job.exit_code(worker) for worker in job.workers] == [0, 0], job.output()
        assert job.output().count("done at step 10") == 2 * times
        assert (job.folder / "work/model/model.safetensors").exists()
        assert {report.progress.step for report in job.reports()} <= {10, None}
