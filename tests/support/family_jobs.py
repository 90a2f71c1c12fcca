"""What ranks do with the tiny models of all families in tests."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from families import FAMILIES, UNPLANNED, Family, Micro, build, loss_sum, micro, ties
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from trainer_fixture import config_of

from dtj_api.base import read
from dtj_api.trainer import TrainerConfig
from dtj_trainer.checkpoint.tensors import load_tensors, parameter_norm, tensors_to_save, write_tensors
from dtj_trainer.dropout.adapt import adapt
from dtj_trainer.optimizer import build_optimizer
from dtj_trainer.parallel.plans.find import head_of
from dtj_trainer.parallel.world import World, join
from dtj_trainer.parallel.wrap import wrap
from dtj_trainer.strategies.synchronous import Synchronous

STEPS = 3


class Job:
    """A training of a model on this rank."""

    def __init__(self, family: Family, config: TrainerConfig, here: World) -> None:
        self.family, self.config, self.here = family, config, here
        model = build(family)
        head = head_of(model)
        self._draws = adapt(model, 1, here.device)
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            self.parallel = wrap(model, here, config)
        self.said = said.getvalue()
        self.optimizer = build_optimizer(self.parallel.plain, config.optimizer, head)
        self._strategy = Synchronous(self.parallel, self.optimizer, config.optimizer, STEPS, here)
        self.gradients: dict[str, Any] = {}
        """Of the first step, put together."""

    def train(self) -> list[tuple[float, float]]:
        """All steps: loss, and norm of the gradient."""
        mine = micro(self.family, self.here.data_rank, self.here.data_size)
        tokens = int((micro(self.family).labels >= 0).sum())
        self._watch()

        def loss(module: nn.Module, some: Micro) -> torch.Tensor:
            self._draws.use(some.samples)
            return loss_sum(module, some)

        steps = []
        for step in range(STEPS):
            self._draws.begin(step)
            outcome = self._strategy.step(step, [mine], tokens, loss)
            assert outcome.applied
            steps.append((outcome.loss, outcome.grad_norm))
        return steps

    def _watch(self) -> None:
        step = self.optimizer.step

        def look() -> None:
            for name, parameter in self.parallel.plain.named_parameters():
                grad = parameter.grad
                if grad is not None:
                    whole = grad.full_tensor() if isinstance(grad, DTensor) else grad
                    self.gradients[name] = whole.numpy().copy()
            self.optimizer.step = step  # type: ignore[method-assign]
            step()

        self.optimizer.step = look  # type: ignore[method-assign, assignment]

    def exported(self) -> float | None:
        """Loss of a fresh model that took the weights over, on rank 0."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole = get_model_state_dict(self.parallel.plain, options=options)
        if self.here.rank:
            return None
        fresh = build(self.family).eval()
        fresh.load_state_dict(whole)
        with torch.no_grad():
            return float(loss_sum(fresh, micro(self.family)))


def train_families(parallel: dict[str, int], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Train models of some families on this rank, one after the other.

    Args:
        parallel: spec.trainer.parallel.
        labels: keys of FAMILIES or UNPLANNED.
    """
    config, here = _enter(parallel)
    return {label: _train({**FAMILIES, **UNPLANNED}[label], config, here) for label in labels}


def _enter(parallel: dict[str, int]) -> tuple[TrainerConfig, World]:
    raw = config_of(Path(), parallel=parallel, optimizer={"lr": 1e-3})
    config = read(TrainerConfig, raw, "spec.trainer")
    return config, join(1, config.parallel.tensor)


def _train(family: Family, config: TrainerConfig, here: World) -> dict[str, Any]:
    job = Job(family, config, here)
    plain, before = job.parallel.plain, torch.get_rng_state()
    steps = job.train()
    return {
        "steps": steps,
        "gradients": job.gradients,
        "units": [name for name, module in plain.named_modules() if isinstance(module, FSDPModule)],
        "plain": [name for name, parameter in plain.named_parameters() if not isinstance(parameter, DTensor)],
        "tied": ties(plain),
        "drew": not torch.equal(before, torch.get_rng_state()),
        "exported": job.exported(),
        "said": job.said,
    }


def save_and_load(folder: Path, label: str) -> dict[str, Any]:
    """Train sharded, save, spoil the weights, load: norms of all parameters after each, and what is tied then."""
    config, here = _enter({"dataShard": -1})
    job = Job(FAMILIES[label], config, here)
    job.train()
    write_tensors(folder, tensors_to_save(job.parallel, job.optimizer, None, here), None)
    norms = [parameter_norm(job.parallel)]
    with torch.no_grad():
        for parameter in job.parallel.plain.parameters():
            parameter.zero_()
    norms.append(parameter_norm(job.parallel))
    load_tensors(folder, job.parallel, job.optimizer, False)
    return {"norms": [*norms, parameter_norm(job.parallel)], "tied": ties(job.parallel.plain)}


def load(folder: Path, label: str) -> float:
    """Norm of all parameters of a model that took a checkpoint in."""
    config, here = _enter({"dataShard": -1})
    job = Job(FAMILIES[label], config, here)
    load_tensors(folder, job.parallel, job.optimizer, False)
    return parameter_norm(job.parallel)
