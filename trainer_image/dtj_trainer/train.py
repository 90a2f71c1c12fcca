"""One rank of the built-in trainer: `python -m dtj_trainer.train`, started by the launcher or by torchrun.

What the user got wrong (configuration, data, tokenizer, model, layout) is found before the ranks meet and ends with one
message and the exit code that says a restart does not help. Each rank looks for itself, for it needs what it has read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from dtj_api.base import ManifestError
from dtj_api.names import Env, ExitCode
from dtj_api.trainer import TrainerConfig, parse_trainer
from dtj_trainer.first_look import first_look
from dtj_trainer.untrainable import UntrainableError

USER_ERRORS = (ManifestError, UntrainableError)


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
            from torch.distributed.elastic.multiprocessing.errors import ErrorHandler

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
    """Look at the data, train, test, report and export; every rank calls it and all return together."""
    data = first_look(config)
    # With it come torch and transformers, which take seconds: nobody waits for them to be told of a word in a file.
    from dtj_trainer import training

    training.run(config, data)


if __name__ == "__main__":
    sys.exit(main())
