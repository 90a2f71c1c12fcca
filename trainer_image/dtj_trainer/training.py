"""A training from its first look at the ranks to what it leaves: model and report."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist

import dtj
from dtj.checkpoints import superseded
from dtj_api.names import Env
from dtj_api.trainer import TrainerConfig
from dtj_trainer.export import export_model
from dtj_trainer.loop import train
from dtj_trainer.parallel.tensor import expect_splittable
from dtj_trainer.parallel.world import LayoutError, expect_gpus, join, layout
from dtj_trainer.report import build_report, write_report
from dtj_trainer.session import Session
from dtj_trainer.tasks.registry import KINDS


class SupersededError(RuntimeError):
    """This process was given up while it trained."""


class ShrunkError(RuntimeError):
    """`parallel` does not fit the ranks of a later incarnation, or these the GPUs. More may come: nobody's mistake."""


def run(config: TrainerConfig, data: Any) -> None:
    """Train, test, report and export; every rank calls it and all return together.

    Args:
        config: of the job.
        data: what `first_look` returned for it.
    """
    try:
        layout(config.parallel, int(os.environ.get("WORLD_SIZE", "1")))
        expect_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count())
    except LayoutError as error:
        if int(os.environ.get(Env.INCARNATION) or "1") == 1:
            raise
        raise ShrunkError(str(error)) from None
    task = KINDS[config.task].make(config, data)
    built = task.build_model()
    if config.parallel.tensor > 1:
        expect_splittable(built.model.config, config.parallel.tensor)
    world = join(config.cpu_threads, config.parallel.tensor)
    session = Session(config, task, built.model, world)
    with dtj.phase("train"):
        train(session)
    session.checkpointer.use_best()
    with dtj.phase("evaluate"):
        test = session.evaluator.score("test")
    with dtj.phase("export"):
        if superseded():
            raise SupersededError(
                "a newer incarnation of the job has begun; model and report are for that one to write"
            )
        work = dtj.work_dir()
        exported = export_model(session.parallel.plain, session.model_config, task, work / "model", world)
        if world.rank == 0:
            write_report(work / "report", build_report(config, session.state, task.facts(), test, exported, built.head))
        world.wait_for_rank_0()
    dtj.done()
    dist.destroy_process_group()
