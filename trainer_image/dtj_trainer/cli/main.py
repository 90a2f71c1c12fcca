"""Arguments of `dtj` and its subcommands. A mistake of the user's ends with one message and no traceback.

Only training imports torch, which takes seconds: manifests are checked in moments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtj_api.base import ManifestError
from dtj_api.names import ExitCode
from dtj_trainer.cli import checkpoints
from dtj_trainer.cli.check import check
from dtj_trainer.untrainable import UntrainableError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_CHECKPOINT = "PATH is a job's folder: <job>-<8 letters of its uid> on its volume, or the --out of `dtj run`."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code for the shell."""
    options = _parser().parse_args(argv)
    as_json = getattr(options, "output", "") == "json"
    try:
        match options.command:
            case "run":
                from dtj_trainer.cli import run

                return run.run(options.file, options.workers, options.processes_per_worker, options.out, as_json)
            case "check":
                return check(options.files)
            case "list":
                return checkpoints.show(options.path, as_json)
            case "verify":
                return checkpoints.verify(options.path, as_json)
            case _:
                return checkpoints.export(options.path, options.file, options.best)
    except (ManifestError, UntrainableError) as error:
        print(f"dtj: {error}", file=sys.stderr)
        return int(ExitCode.BAD_CONFIG)
    except OSError as error:
        print(f"dtj: {error.filename or options.command}: {error.strerror or error}", file=sys.stderr)
        return int(ExitCode.FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dtj", description="Train on this machine, and look after checkpoints.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_run(commands)
    checked = commands.add_parser(
        "check",
        help="look at manifests as the API server does",
        description="Say what the API server would say of manifests. What it alone can tell (quotas, and most of a pod "
        "template) is not looked at.",
    )
    checked.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a manifest")
    checkpoint = commands.add_parser("checkpoint", help="look at checkpoints on a volume", description=_CHECKPOINT)
    what = checkpoint.add_subparsers(dest="command", required=True)
    listed = what.add_parser("list", help="all of them, newest first", description=f"List checkpoints. {_CHECKPOINT}")
    listed.add_argument("path", type=Path, metavar="PATH", help="a job's folder")
    _add_output(listed, "one object for each checkpoint")
    verified = what.add_parser(
        "verify", help="whether they are whole", description="Read all files and compare them with what was written."
    )
    verified.add_argument("path", type=Path, metavar="PATH", help="a checkpoint, or a job's folder for all in it")
    _add_output(verified, "what is wrong with each checkpoint")
    exported = what.add_parser(
        "export",
        help="the weights as one file",
        description="Write the weights of a checkpoint of the built-in trainer as a safetensors file.",
    )
    exported.add_argument("path", type=Path, metavar="CHECKPOINT", help="the folder of one checkpoint")
    exported.add_argument("file", type=Path, metavar="FILE", help="the file to write")
    exported.add_argument("--best", action="store_true", help="those of the best evaluation")
    return parser


def _add_run(commands: Commands) -> None:
    here = commands.add_parser(
        "run",
        help="train a manifest's job without a cluster",
        description="Train the DistributedTrainingJob in FILE on this machine. A job that was interrupted goes on from "
        "its last checkpoint in the same --out.",
    )
    here.add_argument("file", type=Path, metavar="FILE", help="manifest")
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
    _add_output(here, "one object on standard output at the end")


def _add_output(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help=f"json: {what}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed is a whole number of at least 1")
    return int(text)
