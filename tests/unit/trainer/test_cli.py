"""`dtj run`: a manifest trained without a cluster, and the mistakes that it tells by field."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documented import documented
from rich.console import Console
from trainer_fixture import config_of

from dtj_api.wire import Failure, Progress, Report
from dtj_trainer.cli import main
from dtj_trainer.cli.manifest import load_job
from dtj_trainer.cli.progress import ProgressLine, line
from dtj_trainer.cli.run import result_lines
from dtj_trainer.tasks.task import Scores, Table

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[3] / "examples" / "ner.yaml"


def manifest(path: Path, change) -> Path:
    job = yaml.safe_load(EXAMPLE.read_text())
    change(job)
    path.write_text(yaml.safe_dump(job))
    return path


MISTAKES = {
    "unknown field": (lambda job: job["spec"]["trainer"].update(epoch=3), "spec.trainer.epoch: unknown field"),
    "bad value": (lambda job: job["spec"]["trainer"].update(epochs=0), "spec.trainer.epochs: "),
    "neither trainer nor command": (lambda job: job["spec"].pop("trainer"), "has no command; write one"),
    "kind": (lambda job: job.update(kind="Job"), "kind: found 0 objects of kind DistributedTrainingJob"),
    "version": (lambda job: job.update(apiVersion="dtj.dev/v1"), "apiVersion: found 'dtj.dev/v1'"),
    "name": (lambda job: job["metadata"].pop("name"), "metadata.name: required"),
    "min above replicas": (lambda job: job["spec"]["workers"].update(minReplicas=4), "minReplicas"),
    "a name for no pod": (lambda job: job["metadata"].update(name="Ner"), "metadata.name: must be at most 48"),
    "a field beside spec": (lambda job: job.update(specs={}), "specs: unknown field"),
    "a field of metadata": (lambda job: job["metadata"].update(lables={}), "metadata.lables: unknown field"),
    "no such model": (lambda job: job["spec"]["trainer"]["model"].update(package="nope"), "no package 'nope'"),
    "type outside the map": (
        lambda job: job["spec"]["trainer"]["data"]["labelMap"].pop("movie"),
        "type 'movie' is unknown; data.labelMap knows",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_by_field_and_nothing_starts(tmp_path, capsys, case):
    change, says = MISTAKES[case]
    file = manifest(tmp_path / "job.yaml", change)
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 64
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_numbers_and_empty_keys_are_those_of_kubectl(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        """apiVersion: dtj.dev/v1alpha1
kind: DistributedTrainingJob
metadata: {name: ner, annotations: }
spec:
  workers: {replicas: 2.0, minReplicas: , template: {spec: {containers: [{name: trainer, args: , env: }]}}}
  checkpoint:
  trainer:
    task: ner
    model: {path: m}
    data: {train: a, dev: b, test: c, labelMap: }
    optimizer: {lr: 5e-5, headLr: 1e-3, eps: 1e-8, weightDecay: 1e-2, maxGradNorm: 1}
    earlyStopping: {minDelta: 1e-4}
"""
    )
    spec = load_job(file).spec
    assert (spec.workers.replicas, spec.workers.min_replicas, spec.checkpoint) == (2, None, None)
    optimizer = spec.trainer.optimizer
    assert (optimizer.lr, optimizer.head_lr, optimizer.eps, optimizer.weight_decay) == (5e-5, 1e-3, 1e-8, 1e-2)
    assert spec.trainer.early_stopping.min_delta == 1e-4
    assert spec.trainer.data.label_map == {}


def test_the_job_of_a_list_is_found(tmp_path):
    job = yaml.safe_load(EXAMPLE.read_text().split("\n---\n")[-1])
    file = tmp_path / "list.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [{"kind": "ConfigMap"}, job]}))
    assert load_job(file).name == job["metadata"]["name"]


@pytest.mark.parametrize(("content", "says"), [("a: [", "not YAML"), ("", "found 0 objects")])
def test_what_is_no_manifest(tmp_path, capsys, content, says):
    file = tmp_path / "job.yaml"
    file.write_text(content)
    assert main(["run", str(file)]) == 64
    assert says in capsys.readouterr().err


def test_check_says_what_is_wrong_with_each_job_of_each_file(tmp_path, capsys):
    good = manifest(tmp_path / "good.yaml", lambda job: None)
    one = manifest(tmp_path / "one.yaml", lambda job: job["spec"]["trainer"].update(epochs=0))
    two = manifest(tmp_path / "two.yaml", lambda job: job["spec"].pop("workers"))
    both = tmp_path / "both.yaml"
    both.write_text(f"{one.read_text()}\n---\n{two.read_text()}\n---\n{good.read_text()}\n---\nkind: ConfigMap\n")
    assert main(["check", str(good), *map(str, sorted((EXAMPLE.parent).glob("*.yaml")))]) == 0
    assert capsys.readouterr().err == ""
    assert main(["check", str(both), str(tmp_path / "none.yaml"), str(good)]) == 64
    said = capsys.readouterr()
    assert "both.yaml: spec.trainer.epochs: " in said.err
    assert "both.yaml: spec.workers: required, but missing" in said.err
    assert "none.yaml: cannot be read: No such file" in said.err
    assert said.out.count("nothing is wrong with it") == 2


def test_workers_must_be_a_positive_number(capsys):
    with pytest.raises(SystemExit):
        main(["run", "x", "--workers", "0"])
    assert "allowed is a whole number of at least 1" in capsys.readouterr().err


def report(progress: Progress, **changes) -> Report:
    return Report("uid", 0, "training", 1, 1, 2, changes.pop("group_rank", 0), progress=progress, **changes)


def test_the_line_is_that_of_rank_0():
    progress = Progress(
        step=50, total_steps=100, epoch=1.5, loss=0.25, samples=800, tokens_per_second=1234.0, samples_per_second=16.0
    )
    other = report(Progress(step=49), group_rank=1)
    assert line([other, report(progress)]) == (
        "step 50/100, epoch 1.50, loss 0.2500, 1,234 tokens/s, eta 0:50, 2 ranks"
    )
    assert line([]) == "starting (0 workers)"
    assert line([report(Progress())]) == "training (1 workers)"
    assert "evaluate" in line([report(Progress(step=1, phase="evaluate"))])


def test_the_first_failure_of_the_newest_round_is_kept():
    progress = ProgressLine(Console(file=io.StringIO()))
    failures = tuple(Failure(1, i, i, 0, float(i), 1, f"E{i}", "", True) for i in (2, 1))
    progress.update([report(Progress(), failures=failures)])
    assert progress.failure == "rank 2: E2"
    mistake = Failure(1, 2, 0, 0, 1.5, 64, "DataError: bad", "", True)
    progress.update([report(Progress(), failures=(*failures, mistake))])
    assert progress.failure == "rank 0: DataError: bad", "its peers fail after it"


def test_of_the_report_the_scores_and_what_sums_up_their_tables_are_told():
    total = Table("a mode", ("type", "precision", "found"), (("PER", 0.5, 4),), total=("all", 0.25, 12))
    plain = Table("a matrix", ("type", "PER"), (("PER", 4),))
    body = Scores("F1 strict", {"F1 strict": 0.5, "F1 default": 2 / 3}, (total, plain)).body()
    assert result_lines({"test": json.loads(json.dumps(body))}) == [
        "test: F1 strict 0.5000, F1 default 0.6667",
        "a mode: precision 0.2500, found 12",
    ]


def test_a_job_runs_to_its_report(root: Path, tmp_path: Path) -> None:
    def small(job: dict) -> None:
        job["spec"]["workers"]["replicas"] = 2
        job["spec"]["trainer"] = config_of(root, epochs=1)
        job["spec"]["checkpoint"]["every"] = {"steps": 5}

    (tmp_path / "examples").mkdir()
    manifest(tmp_path / "examples" / "ner.yaml", small)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    out = tmp_path / "dtj-runs" / "ner"
    ended = subprocess.run(
        ["bash", "-c", f"{documented('docs/getting-started.md', '.venv/bin/dtj run')} -o json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr + (out / "run.log").read_text()
    answer = json.loads(ended.stdout)
    assert Path(answer["model"], "model.safetensors").is_file()
    assert answer["test"] == json.loads(Path(answer["report"]).read_text())["test"]
    assert answer["training"]["worldSizes"] == [{"fromStep": 0, "ranks": 2}]
    assert sorted(path.name for path in (out / "checkpoints").glob("step-*")) == [
        "step-10.i1",
        "step-14.i1",
        "step-5.i1",
    ]
