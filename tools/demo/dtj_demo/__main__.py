"""`make demo`: a cluster, the operator, a NER job of elastic workers, its report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from dtj_cluster.errors import ClusterError
from dtj_cluster.progress import span
from dtj_demo import chart, existing, job, kind, local, report
from dtj_demo.place import NAMESPACE, Place
from dtj_demo.show import Show

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "ner.yaml"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 0 when the job has Succeeded, 1 with a message when not, 130 interrupted."""
    options = _parser().parse_args(arguments)
    show = Show(as_json=options.json)
    try:
        _run(options, show)
    except ClusterError as error:
        show.event("failed", text=str(error))
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted. What runs goes on; `make cluster-down` stops the local cluster.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Train on a real cluster and show the report. "
        "CLUSTER=existing reads KUBECONFIG, IMAGE, OPERATOR_IMAGE, and CLAIM or STORAGE_CLASS from the environment.",
    )
    parser.add_argument("--cluster", choices=["local", "kind", "existing"], default="local")
    parser.add_argument("--name", default="dtj", help="name of the local or kind cluster (default: dtj)")
    parser.add_argument("--job", type=Path, default=EXAMPLE, help="manifest of the job (default: examples/ner.yaml)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    return parser


def _run(options: argparse.Namespace, show: Show) -> None:
    began = time.monotonic()
    place = _place(options, show)
    with show.step("operator, by helm"):
        chart.install(place)
    manifest = job.manifest(options.job, place)
    name = str(manifest["metadata"]["name"])
    job.start(manifest, place, show)
    with show.step(f"job {NAMESPACE}/{name}") as step:
        finished = job.follow(name, place, show, step)
    with show.step("report"):
        scores = json.loads(place.read(f"{finished.directory}/report/report.json"))
    model = place.where(f"{finished.directory}/model")
    show.result(*report.tables(scores), Text(report.summary(scores)))
    show.result(
        Text(f"Report with pictures: {place.where(f'{finished.directory}/report/report.md')}"),
        Text(f"Model, for transformers' from_pretrained: {model}"),
    )
    show.event("result", job=f"{NAMESPACE}/{name}", status=finished.status.dump(), test=scores["test"], model=model)
    show.say(f"All of it took {span(time.monotonic() - began)}.\n{place.farewell}")


def _place(options: argparse.Namespace, show: Show) -> Place:
    match options.cluster:
        case "local":
            return local.prepare(show, options.name)
        case "kind":
            return kind.prepare(show, options.name)
        case _:
            return existing.prepare(show, os.environ)


if __name__ == "__main__":
    sys.exit(main())
