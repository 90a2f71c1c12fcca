"""Arguments of `dtj` and its subcommands. A mistake of the user's ends with one message and no traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dtj_api.base import ManifestError
from dtj_api.names import ExitCode
from dtj_trainer.cli import run
from dtj_trainer.data.locate import NotFoundError
from dtj_trainer.data.sentences import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code for the shell."""
    options = _parser().parse_args(argv)
    try:
        return run.run(
            options.file, options.workers, options.processes_per_worker, options.out, options.output == "json"
        )
    except (ManifestError, DataError, NotFoundError) as error:
        print(f"dtj: {error}", file=sys.stderr)
        return int(ExitCode.BAD_CONFIG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dtj", description="Train on this machine what a manifest describes.")
    commands = parser.add_subparsers(dest="command", required=True)
    here = commands.add_parser(
        "run",
        help="train a manifest's job without a cluster",
        description="Train the DistributedTrainingJob in FILE on this machine. A job that was interrupted goes on from "
        "its last checkpoint in the same --out.",
    )
    here.add_argument("file", type=Path, metavar="FILE", help="manifest with spec.trainer")
    here.add_argument("--workers", type=_positive, metavar="N", help="workers (default: spec.workers.replicas)")
    here.add_argument(
        "--processes-per-worker",
        type=_positive,
        metavar="M",
        help="ranks of each worker (default: spec.workers.processesPerWorker; auto: an equal share of the GPUs "
        "that are seen, else 1)",
    )
    here.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for checkpoints, logs, report and model (default: dtj-runs/NAME)",
    )
    here.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="json: one object on standard output at the end",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed is a whole number of at least 1")
    return int(text)
