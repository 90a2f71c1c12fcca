"""A recorded reconcile is planned again offline: the same plan, or a diff and exit code 1."""

from __future__ import annotations

import json
import shlex

import pytest
from documented import documented
from operator_lives import NAME, Life, Story

from dtj_operator.cli.operator import main
from dtj_operator.plan.reconcile import plan
from dtj_operator.telemetry.record import Recorder, RecordError


@pytest.fixture
async def record(tmp_path):
    story = Story()
    life = Life(story, lambda n, call: "")
    await life.settle()
    story.run_pods()
    for _ in range(5):
        await life.world.wait_synced()
    view = await life.world.view(("default", NAME))
    await life.end()
    assert view is not None
    return Recorder(tmp_path / "records")(view, plan(view))


def test_the_plan_comes_out_the_same(record, capsys, monkeypatch):
    record.rename(record.with_name("view.json"))
    monkeypatch.chdir(record.parent)
    assert main(shlex.split(documented("docs/architecture.md", "dtj-operator replay"))[1:]) == 0
    assert f"default/{NAME}" in capsys.readouterr().out


def test_a_plan_that_differs_is_shown(record, capsys):
    raw = json.loads(record.read_text())
    raw["plan"]["status"]["phase"] = "Failed"
    record.write_text(json.dumps(raw))
    assert main(["replay", str(record)]) == 1
    assert '-  "phase": "Failed"' in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{}", '{"view": {}, "plan": {}}', "[]"])
def test_a_file_that_is_no_record_is_said_in_one_line(tmp_path, capsys, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    assert main(["replay", str(file)]) == 1
    assert "not a record" in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["replay", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="--record"):
        Recorder(tmp_path / "file" / "below")
