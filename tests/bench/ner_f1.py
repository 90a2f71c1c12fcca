"""Test F1 of examples/ner.yaml over several seeds, one rank each, beside its floor.

    python tests/bench/ner_f1.py [--seeds 5] [--first 1] [--epochs N]

The split stays the manifest's; the seed of head, order and dropout changes. The floor of a single run is
the mean minus three standard deviations of five seeds: 0.6595 - 3 x 0.0160 of the manifest's three epochs,
0.6298 - 3 x 0.0166 of two.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import yaml

MANIFEST = pathlib.Path(__file__).parents[2] / "examples" / "ner.yaml"
FLOORS = {3: 0.61, 2: 0.58}
"""By epochs."""


def one(seed: int, trainer: dict) -> dict:
    """Train with one seed; the report."""
    with tempfile.TemporaryDirectory() as work:
        config = pathlib.Path(work, "config.json")
        config.write_text(json.dumps({**trainer, "seed": seed}))
        env = {**os.environ, "DTJ_WORK_DIR": work, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "dtj_trainer.train", "--config", str(config)], env=env, check=True)
        return json.loads(pathlib.Path(work, "report", "report.json").read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="default: the manifest's")
    options = parser.parse_args()
    trainer = yaml.safe_load(MANIFEST.read_text())["spec"]["trainer"]
    if options.epochs:
        trainer["epochs"] = options.epochs
    strict, default = [], []
    for seed in range(options.first, options.first + options.seeds):
        began = time.monotonic()
        report = one(seed, trainer)
        strict.append(report["test"]["strict"]["f1"])
        default.append(report["test"]["default"]["f1"])
        print(
            f"seed {seed}: test F1 strict {strict[-1]:.4f}, default {default[-1]:.4f}; best step "
            f"{report['best']['step']}, {report['training']['tokensPerSecond']:.0f} tokens/s, "
            f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for name, scores in (("strict", strict), ("default", default)):
        mean, spread = statistics.mean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(
            f"F1 {name}: mean {mean:.4f}, std {spread:.4f}, mean - 3 std {mean - 3 * spread:.4f}, min {min(scores):.4f}"
        )
    floor = FLOORS.get(trainer["epochs"], 0.0)
    print(f"floor of a run, strict: {floor}")
    return 0 if min(strict) >= floor else 1


if __name__ == "__main__":
    sys.exit(main())
