"""What ranks do in tests. Imported by the server that ranks are forked from."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

import dtj
import dtj_trainer.train as entry
from dtj_api.base import read
from dtj_api.trainer import TrainerConfig
from dtj_trainer import loop, training
from dtj_trainer.evaluate import predict_split
from dtj_trainer.parallel import world
from dtj_trainer.parallel.norm import global_norm, scale_
from dtj_trainer.session import Session
from dtj_trainer.tasks import ner
from dtj_trainer.tasks.features import make_features


class CrashError(Exception):
    """The end of a job that a test wants."""


def train_job(
    raw: dict[str, Any],
    crash_at: int = 0,
    poison: dict[int, float] | None = None,
    whole: bool = False,
    task: str = "",
) -> dict[str, Any]:
    """A whole job on this rank. Steps as (step, loss, gradient norm, rate), every float exact.

    Args:
        raw: spec.trainer.
        crash_at: give up right after this step; 0: never.
        poison: factor by which the loss of a step (counted from 0) is multiplied, for instance NaN.
        whole: also write report and export, which takes longer than the training.
        task: in place of the one in `raw`: one that the schema does not know.
    """
    steps: list[tuple[int, float, float, float]] = []
    batches: list[list[int]] = []
    tokenised: list[int] = []
    final: dict[str, Any] = {}
    sessions: list[Session] = []
    report, train = dtj.report, loop.train

    def record(**values: Any) -> None:
        steps.append((values["step"], values["loss"], values["grad_norm"], values["lr"]))
        report(**values)

    def watch(session: Session) -> None:
        sessions.append(session)
        _watch_batches(session, batches, poison or {}, crash_at)
        train(session)
        # Collectives, which the end of the job takes away.
        final["weights"] = weights_digest(session)
        final["dev"] = predict_split(session.task, session.task.examples["dev"], session.parallel, session.world, 5)

    def tokenise(sentences: Any, *more: Any) -> Any:
        tokenised.append(len(sentences))
        return make_features(sentences, *more)

    _put(dtj, report=record)
    _put(training, train=watch)
    _put(ner, make_features=tokenise)
    if not whole:
        _put(training, write_report=lambda *_: None, export_model=lambda *_: None)
    error = None
    with contextlib.suppress(CrashError):
        try:
            config = read(TrainerConfig, raw, "spec.trainer")
            entry.run(config.model_copy(update={"task": task or config.task}))
        except (RuntimeError, *entry.USER_ERRORS) as raised:
            error = f"{type(raised).__name__}: {raised}"
    if not sessions:
        return {"error": error}
    session = sessions[0]
    return {
        "steps": steps,
        "batches": batches,
        "error": error,
        "start": session.state.world_sizes[-1][0],
        "world_sizes": session.state.world_sizes,
        "evaluations": session.state.evaluations,
        "state": {"step": session.state.step, "stopped": session.state.stopped, "skipped": session.state.skipped},
        "best": [session.state.early.best, session.state.early.best_step],
        "weights": final.get("weights"),
        "dev": final.get("dev"),
        "tokenised": len(tokenised),
        "reported": (dtj.work_dir() / "report" / "report.json").is_file(),
        "units": sum(isinstance(m, FSDPModule) for m in session.parallel.plain.modules()),
        "sharded": sum(isinstance(p, DTensor) for p in session.parallel.plain.parameters()),
    }


def join_late(late: int, folder: Path, start_timeout: float) -> int:
    """Join the others where rank `late` comes later than a step's collectives may take; the number of ranks."""
    _put(world, START_TIMEOUT=datetime.timedelta(seconds=start_timeout))
    rank, waits = int(os.environ["RANK"]), folder / "waits"
    if rank == late:
        while not waits.exists():
            time.sleep(0.01)
        until = time.monotonic() + 1.5 * start_timeout
        while time.monotonic() < until:
            time.sleep(0.01)
    else:
        waits.touch()
    return world.join(1).size


def _put(module: Any, **values: Any) -> None:
    """Replace what is in a module; a rank is a process of its own, so nothing is put back."""
    for name, value in values.items():
        assert hasattr(module, name)
        setattr(module, name, value)


def _watch_batches(session: Session, batches: list[list[int]], poison: dict[int, float], crash_at: int) -> None:
    batch, loss = session.sampler.batch, session.task.loss

    def seen(cursor: Any) -> list[int]:
        found = batch(cursor)
        if not batches or batches[-1] != found:
            batches.append(found)
        return found

    def poisoned(model: nn.Module, micro: Any) -> torch.Tensor:
        if crash_at and session.state.step == crash_at:
            # What the job goes on from must not depend on how fast a disk is.
            dtj.wait_for_save()
            raise CrashError
        return loss(model, micro) * poison.get(session.state.step, 1.0)

    session.sampler.batch = seen  # type: ignore[method-assign]
    session.task.loss = poisoned  # type: ignore[method-assign, assignment]


def weights_digest(session: Session) -> str:
    """Hash of the whole weights, gathered when sharded; equal only when every bit is."""
    state = hashlib.sha256()
    for name, parameter in session.parallel.plain.named_parameters():
        whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        state.update(name.encode() + whole.detach().numpy().tobytes())
    return state.hexdigest()


def norm_over_meshes() -> tuple[float, float, list[float], list[float]]:
    """Global norm of gradients on two meshes and of a plain one, beside the reference; then the clipped values."""
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    whole = [torch.randn(8, 6), torch.randn(5, 4), torch.randn(3)]
    flat = init_device_mesh("cpu", (2,), mesh_dim_names=("shard",))
    square = init_device_mesh("cpu", (2, 1), mesh_dim_names=("replicate", "tensor"))
    parts = [
        distribute_tensor(whole[0], flat, [Shard(0)]),
        distribute_tensor(whole[1], square, [Replicate(), Shard(1)]),
        whole[2].clone(),
    ]
    expected = float(torch.linalg.vector_norm(torch.cat([t.flatten() for t in whole])))
    norm = global_norm(parts)
    found = float(norm)
    scale_(parts, norm, 1.0)
    full = [p.full_tensor() if isinstance(p, DTensor) else p for p in parts]
    clipped = torch.cat([t.flatten() for t in full]).tolist()
    reference = (torch.cat([t.flatten() for t in whole]) / expected).tolist()
    return found, expected, clipped, reference
