"""One rank of the built-in trainer: `python -m dtj_trainer.train`, started by the launcher or by torchrun.

What the user got wrong (configuration, data, layout) is found before the ranks meet and ends with one message and
the exit code that says a restart does not help.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ErrorHandler
from transformers import AutoConfig

import dtj
from dtj.checkpoints import superseded
from dtj_api.base import ManifestError
from dtj_api.names import Env, ExitCode
from dtj_api.trainer import TrainerConfig, parse_trainer
from dtj_trainer.checkpoint.state import ResumeError
from dtj_trainer.data.locate import NotFoundError, locate_model
from dtj_trainer.data.sentences import DataError
from dtj_trainer.export import export_model
from dtj_trainer.loop import train
from dtj_trainer.parallel.tensor import expect_splittable
from dtj_trainer.parallel.world import LayoutError, join, layout
from dtj_trainer.report import build_report, write_report
from dtj_trainer.session import Session
from dtj_trainer.tasks.ner import Ner

USER_ERRORS = (ManifestError, DataError, NotFoundError, LayoutError, ResumeError)


class SupersededError(RuntimeError):
    """This process was given up while it trained."""


class ShrunkError(RuntimeError):
    """`parallel` does not fit the ranks of a later incarnation. More workers may come, so it is nobody's mistake."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one rank. Exit codes: 0 done, `ExitCode.BAD_CONFIG` the configuration or the data cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m dtj_trainer.train", description=__doc__)
    parser.add_argument("--config", type=Path, help=f"spec.trainer as JSON; default: {Env.TRAINER_CONFIG}")
    options = parser.parse_args(argv)
    try:
        run(read_config(options.config))
    except USER_ERRORS as error:
        # torch's own way to leave the first error where an agent looks for it; the text alone is for people.
        if os.environ.get("TORCHELASTIC_ERROR_FILE"):
            ErrorHandler().record_exception(error)
        print(f"dtj: {error}", file=sys.stderr, flush=True)
        return int(ExitCode.BAD_CONFIG)
    return int(ExitCode.DONE)


def read_config(path: Path | None) -> TrainerConfig:
    """The configuration from a file, or from the environment when `path` is None.

    Raises:
        ManifestError: not there, or wrong.
    """
    if path is not None:
        try:
            return parse_trainer(path.read_text(), str(path))
        except OSError as error:
            raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    text = os.environ.get(Env.TRAINER_CONFIG)
    if not text:
        raise ManifestError(f"{Env.TRAINER_CONFIG} is not set; give --config FILE")
    return parse_trainer(text)


def run(config: TrainerConfig) -> None:
    """Train, test, report and export; every rank calls it and all return together."""
    try:
        layout(config.parallel, int(os.environ.get("WORLD_SIZE", "1")))
    except LayoutError as error:
        if int(os.environ.get(Env.INCARNATION) or "1") == 1:
            raise
        raise ShrunkError(str(error)) from None
    task = Ner(config)
    if config.parallel.tensor > 1:
        expect_splittable(
            AutoConfig.from_pretrained(locate_model(config.model), local_files_only=True), config.parallel.tensor
        )
    world = join(config.cpu_threads, config.parallel.tensor)
    session = Session(config, task, world)
    with dtj.phase("train"):
        train(session)
    session.use_best()
    with dtj.phase("evaluate"):
        test = session.score("test")
    with dtj.phase("export"):
        if superseded():
            raise SupersededError(
                "a newer incarnation of the job has begun; model and report are for that one to write"
            )
        work = dtj.work_dir()
        model = export_model(session.parallel.plain, session.model_config, task.tokenizer, work / "model", world)
        if world.rank == 0:
            write_report(work / "report", build_report(config, session.state, task.describe(), test, model))
        world.wait_for_rank_0()
    dtj.done()
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
