"""What ranks of a tensor group do in tests."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import torch
from families import FAMILIES, build
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

import dtj_trainer.train as entry
from dtj_api.base import read
from dtj_api.trainer import TrainerConfig
from dtj_trainer import loop, training
from dtj_trainer.parallel.plans.find import plan_of, splittable
from dtj_trainer.parallel.plans.units import units_of
from dtj_trainer.parallel.tensor import first_head, split
from dtj_trainer.session import Session


def first_gradients(raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Gradients of a job's first step, by parameter: put together, a hash of what this rank holds, and whether the
    ranks of a tensor group should hold the same.

    Args:
        raw: spec.trainer, without clipping.
    """
    found: dict[str, dict[str, Any]] = {}

    class Done(Exception):
        pass

    def watch(session: Session) -> None:
        def look() -> None:
            for name, parameter in session.parallel.plain.named_parameters():
                gradient = parameter.grad
                assert gradient is not None
                found[name] = _described(gradient)
            raise Done

        session.optimizer.step = look  # type: ignore[method-assign, assignment]
        loop.train(session)

    training.train = watch  # type: ignore[attr-defined]
    try:
        entry.run(read(TrainerConfig, raw, "spec.trainer"))
    except Done:
        return found
    raise AssertionError("no step was made")


def _described(gradient: torch.Tensor) -> dict[str, Any]:
    alike, local, whole = True, gradient, gradient
    if isinstance(gradient, DTensor):
        over = dict(zip(gradient.device_mesh.mesh_dim_names or (), gradient.placements, strict=True))
        alike = "tensor" not in over or over["tensor"].is_replicate()
        local, whole = gradient.to_local(), gradient.full_tensor()
    return {"whole": whole.numpy(), "local": hashlib.sha256(local.numpy().tobytes()).hexdigest(), "alike": alike}


def split_every_family() -> dict[str, dict[str, Any]]:
    """By model type: how far the logits are from the whole model's, what was split, and what was exchanged."""
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=("tensor",))
    found = {}
    for kind in splittable():
        plan, model = plan_of(kind), build(replace(FAMILIES[kind], task="TokenClassification")).eval()
        assert plan is not None
        assert not isinstance(plan.split, str)
        attention = plan.split(model.config).attention
        ids = torch.arange(2, 22).reshape(2, 10)
        mask = torch.ones_like(ids)
        mask[1, 6:] = 0
        whole = model(input_ids=ids, attention_mask=mask).logits.detach()
        split(model, mesh)
        with CommDebugMode() as forward:  # type: ignore[no-untyped-call]
            apart = model(input_ids=ids, attention_mask=mask).logits
        with CommDebugMode() as backward:  # type: ignore[no-untyped-call]
            apart.sum().backward()
        found[kind] = {
            "difference": float((apart.detach() - whole)[mask.bool()].abs().max()),
            "spread": float(whole.std()),
            "first heads": [first_head(layer.get_submodule(attention)) for layer in units_of(model).layers],
            "sums": [forward.get_total_counts(), backward.get_total_counts()],
            "parts": sum(isinstance(p, DTensor) for p in model.parameters()),
        }
    return found
