"""What a rank does for the benchmark of saves: blocks of steps, each with a save of one kind at its beginning."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed import checkpoint as dcp
from transformers import BertConfig, BertForTokenClassification

import dtj
from dtj import manifest
from dtj_trainer.checkpoint.tensors import Copies, tensors_to_save, write_tensors
from dtj_trainer.parallel.ddp import Replicated
from dtj_trainer.parallel.world import join

LENGTH = 64
Save = Callable[[int], None]


class Bench:
    """A model of a size, its optimizer, and the kinds of saves that are compared.

    Args:
        hidden: width of a BERT; its heads have 64 units.
        layers: of it.
        batch: samples of 64 word pieces in a rank's step.
    """

    def __init__(self, hidden: int, layers: int, batch: int) -> None:
        self.world = join(1)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=8000,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            intermediate_size=4 * hidden,
        )
        config.num_labels = 9
        self.parallel = Replicated(BertForTokenClassification(config), self.world, "fp32")
        self.optimizer = torch.optim.AdamW(self.parallel.plain.parameters())
        self.ids = torch.randint(0, 8000, (batch, LENGTH))
        self.labels = torch.randint(0, 9, (batch, LENGTH))
        self.copies = Copies()
        self.folder = dtj.work_dir()
        self.pending: Any = None

    def step(self) -> None:
        """One optimizer step of synchronous training."""
        with self.parallel.micro_step(last=True) as module:
            loss = module(input_ids=self.ids, labels=self.labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.parallel.plain.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def saves(self) -> dict[str, Save]:
        """By name, in the order of the table."""
        return {
            "none": lambda step: None,
            "dtj": self._background,
            "dtj, waited for": self._synchronous,
            "plain DCP": self._dcp,
            "torch.save": self._torch_save,
        }

    def block(self, save: Save, step: int, steps: int) -> tuple[float, float]:
        """Seconds of a step in a block that begins with a save, and of the save until training goes on."""
        dist.barrier()
        began = time.perf_counter()
        save(step)
        stalled = time.perf_counter() - began
        for _ in range(steps):
            self.step()
        dtj.wait_for_save()
        return (time.perf_counter() - began) / max(steps, 1), stalled

    def manifest(self, step: int, runs: int) -> list[tuple[float, float]]:
        """Seconds of saves that are waited for, with a manifest and without, in turns."""
        pairs = []
        for turn in range(runs):
            _, bare = self.block(self._bare, step + 2 * turn, 0)
            _, whole = self.block(self._synchronous, step + 2 * turn + 1, 0)
            pairs.append((whole, bare))
        return pairs

    def _tree(self) -> dict[str, Any]:
        return tensors_to_save(self.parallel, self.optimizer, None, self.world)

    def _background(self, step: int) -> None:
        def stage() -> Callable[[Path, Any], None]:
            copy = self.copies.of(self._tree())
            return lambda path, group: write_tensors(path, copy, group)

        dtj.save_in_background(step, stage)

    def _synchronous(self, step: int) -> None:
        with dtj.checkpoint_dir(step) as path:
            write_tensors(path, self._tree(), None)

    def _bare(self, step: int) -> None:
        sums_of = manifest.sums_of
        manifest.sums_of = lambda folder, files: {name: [0, "none:"] for name in files}
        try:
            self._synchronous(step)
        finally:
            manifest.sums_of = sums_of

    def _dcp(self, step: int) -> None:
        state = {"model": self.parallel.plain.state_dict(), "optimizer": self.optimizer.state_dict()}
        dcp.save(state, checkpoint_id=self._anew("dcp"))

    def _torch_save(self, step: int) -> None:
        folder = self._anew("torch")
        if self.world.rank == 0:
            folder.mkdir()
            state = {"model": self.parallel.plain.state_dict(), "optimizer": self.optimizer.state_dict()}
            with (folder / "all.pt").open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
        dist.barrier()

    def _anew(self, name: str) -> Path:
        folder = self.folder / name
        if self.world.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
        dist.barrier()
        return folder


def compare(hidden: int, layers: int, batch: int, steps: int, rounds: int) -> dict[str, Any]:
    """Interleaved blocks of every kind, as pairs of (seconds a step, seconds of stall). The first round warms up."""
    bench = Bench(hidden, layers, batch)
    kinds = bench.saves()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    number = 0
    for turn in range(rounds + 1):
        for name, save in kinds.items():
            number += 1
            times = bench.block(partial(save), number, steps if turn else 2)
            if turn:
                found[name].append(times)
    pairs = bench.manifest(number + 1, 3 * rounds + 1)[1:]
    size = sum(p.nbytes for p in bench.parallel.plain.parameters()) * 3
    return {"bytes": size, "blocks": found, "manifest": pairs, "seen": str(dtj.latest_checkpoint())}
