from __future__ import annotations

import os
from pathlib import Path

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
