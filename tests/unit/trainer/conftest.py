from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import trainer_fixture
import trainer_ranks

SUPPORT = Path(trainer_ranks.__file__).parent
# The server that ranks are forked from is a process of its own, which knows only the environment.
os.environ["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
trainer_ranks.start_server()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without dropout and 160 sentences."""
    root = tmp_path_factory.mktemp("trainer")
    trainer_fixture.make_model(root / "model")
    trainer_fixture.write_conll(root / "data.conll", trainer_fixture.sentences(160))
    return root


@pytest.fixture(scope="session")
def dropout_root(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The same data, and a model with dropout."""
    other = tmp_path_factory.mktemp("dropout")
    trainer_fixture.make_model(other / "model", dropout=0.1)
    (other / "data.conll").write_text((root / "data.conll").read_text())
    return other


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a job of one rank on few sentences; its exit code, what it said, and its report if it made one."""
    # With it comes torch, which many tests here do without.
    import torch.distributed as dist

    import dtj_trainer.train as entry

    trainer_fixture.write_conll(tmp_path / "data.conll", trainer_fixture.sentences(24))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_ERROR_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path / "work"))

    def run(path: Path, **changes: Any) -> tuple[int, str, dict[str, Any]]:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        changes = {"epochs": 1, **changes, "model": {"path": str(path), **changes.get("model", {})}}
        config = tmp_path / "config.json"
        config.write_text(json.dumps(trainer_fixture.config_of(tmp_path, **changes)))
        try:
            code = entry.main(["--config", str(config)])
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
        report = tmp_path / "work" / "report" / "report.json"
        return code, capsys.readouterr().err, json.loads(report.read_text()) if report.is_file() else {}

    return run
