"""The exported model: whoever looks, and whatever is killed meanwhile, there is a whole one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import distributed as dist
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedModel

from dtj_trainer.export import export_model
from dtj_trainer.parallel.world import World

pytestmark = pytest.mark.unit


class KilledError(BaseException):
    """The process ends here: nothing of it runs any more."""


@pytest.fixture
def export(root: Path, tmp_path: Path) -> Callable[[float], Path]:
    """Export a model whose head has this bias throughout."""
    model = AutoModelForTokenClassification.from_pretrained(root / "model")
    tokenizer = AutoTokenizer.from_pretrained(root / "model")
    task: Any = SimpleNamespace(model_class=AutoModelForTokenClassification, tokenizer=tokenizer)
    world = World(0, 1, torch.device("cpu"), mock.Mock(spec=dist.ProcessGroup))

    def run(bias: float) -> Path:
        torch.nn.init.constant_(model.classifier.bias, bias)
        return export_model(model, model.config, task, tmp_path / "work" / "model", world)

    (tmp_path / "work").mkdir()
    return run


def bias_of(folder: Path) -> float:
    model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).is_fast
    return float(model.get_parameter("classifier.bias").detach()[0])


@pytest.mark.parametrize("before", [1, 2])
def test_a_kill_between_two_renames_leaves_a_whole_model(
    export: Callable[[float], Path], monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    target = export(1.0)
    renames = 0

    def killed_at(real: Callable[..., None]) -> Callable[..., None]:
        def rename(*arguments: Any) -> None:
            nonlocal renames
            renames += target.parent in map(Path, (Path(arguments[0]).parent, Path(arguments[1]).parent))
            if renames == before:
                raise KilledError
            real(*arguments)

        return rename

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(os, name, killed_at(getattr(os, name)))
        with pytest.raises(KilledError):
            export(2.0)
    found = target if target.exists() else target.with_name(".model.old")
    assert bias_of(found) == 1.0
    assert bias_of(export(3.0)) == 3.0
    assert os.listdir(target.parent) == ["model"], "what the kill left is gone"
