"""`spec.trainer`: what the built-in trainer is told.

One set of models serves both sides: the operator makes the CRD's schema from them, the trainer reads its own
configuration with them, so that a field cannot be admitted at apply and ignored in the pod. The types stay plain
(numbers, strings, enums, lists, maps, objects; no unions), because a structural schema knows nothing else. Fields are
camelCase in the manifest and snake_case in Python. Only what works is a field; anything else is refused.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import ApiModel, ManifestError, read

Text = Annotated[str, Field(min_length=1, max_length=4096)]
EntityType = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_]+$")]


class ModelConfig(ApiModel):
    """Which pretrained encoder is fine-tuned. Files are read from disk; nothing is fetched from a hub."""

    path: Text = Field(
        description="Directory of a model in the transformers layout (config.json, model.safetensors, tokenizer.json). "
        "Its head is kept where it is for the same tags in the same order, else a new one takes its place. "
        "Relative to the package when `package` is given, else absolute or relative to the working directory."
    )
    package: str = Field(
        default="",
        max_length=255,
        pattern=r"^[A-Za-z0-9_]*$",
        description="Top-level Python package, installed in the trainer image, that holds the directory. Empty: none.",
    )
    from_config: bool = Field(
        default=False, description="Start from random weights of the directory's config.json and ignore its weights."
    )
    freeze_embeddings: bool = Field(
        default=False,
        description="Keep the input embeddings as they are, and positions where they are in one module with them: a "
        "third less work for a small encoder.",
    )


class SplitConfig(ApiModel):
    """How one file becomes three splits."""

    shuffle_split: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        min_length=3,
        max_length=3,
        description="Shares of train, dev and test of the shuffled sentences; they add up to 1.",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the shuffle; apart from the training's seed.")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if abs(sum(self.shuffle_split) - 1.0) > 1e-6:
            raise ValueError(f"shuffleSplit adds up to {sum(self.shuffle_split):g}; the three shares must add up to 1")
        return self


class DataConfig(ApiModel):
    """Where the sentences are and how to read them: one `file` with `split`, or `train`, `dev` and `test`."""

    format: Literal["conll", "jsonl"] = Field(
        default="conll",
        description="conll: one word a line, the word in the first column and its tag in the last, apart by TAB, or by "
        "blanks where the first row has no TAB; between sentences blank lines or -DOCSTART-, above them comments as in "
        "CoNLL-U. jsonl: one object a line with a list of words and a list of tags. A word may be empty; it is lost.",
    )
    package: str = Field(
        default="",
        max_length=255,
        pattern=r"^[A-Za-z0-9_]*$",
        description="Top-level Python package, installed in the trainer image, that holds the files. Empty: none.",
    )
    file: str = Field(default="", max_length=4096, description="The one file that `split` divides.")
    train: str = Field(default="", max_length=4096, description="File of the training sentences.")
    dev: str = Field(default="", max_length=4096, description="File of the sentences that early stopping looks at.")
    test: str = Field(default="", max_length=4096, description="File of the sentences of the final report.")
    split: SplitConfig | None = Field(default=None, description="Required with `file`, refused with `train`.")
    encoding: Literal["utf-8", "latin-1"] = Field(
        default="utf-8", description="Encoding of the files. A byte order mark is accepted in utf-8."
    )
    words_field: Text = Field(default="words", description="jsonl: name of the list of words.")
    tags_field: Text = Field(default="tags", description="jsonl: name of the list of tags.")
    scheme: Literal["IOB1", "IOB2", "BIOES", "IO"] = Field(
        default="IOB2", description="Tag scheme of the files; training and scores use IOB2 whatever it is."
    )
    label_map: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict,
        max_length=256,
        description="Entity type in the files to entity type of the model; `O` drops the type. When given, it names "
        "every type of the files; a type it does not name is refused with file and line.",
    )
    labels: list[EntityType] = Field(
        default=["PER", "ORG", "LOC"],
        min_length=1,
        max_length=256,
        description="Entity types of the model. Another type in the files is refused with file and line.",
    )
    max_length: int = Field(
        default=128,
        ge=8,
        le=8192,
        description="Longest sentence in word pieces, specials included; at most what the model has positions for. "
        "Words beyond it are scored as `O` and counted in the report.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        files = {"train": self.train, "dev": self.dev, "test": self.test}
        if self.file:
            given = [name for name, value in files.items() if value]
            if given:
                raise ValueError(f"file and {given[0]} are both set; give file with split, or train, dev and test")
            if self.split is None:
                raise ValueError("split is missing; file needs split.shuffleSplit, for example [0.8, 0.1, 0.1]")
        else:
            missing = [name for name, value in files.items() if not value]
            if missing:
                raise ValueError(f"{missing[0]} is missing; give file with split, or train, dev and test")
            if self.split is not None:
                raise ValueError("split is set without file; train, dev and test are splits already")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels names a type twice")
        for source, target in self.label_map.items():
            if target != "O" and target not in self.labels:
                raise ValueError(f"labelMap.{source} is {target!r}; allowed are O and the labels {self.labels}")
        return self


class OptimizerConfig(ApiModel):
    """The optimizer, its schedule and its guards."""

    name: Literal["adamw", "sgd"] = Field(
        default="adamw",
        description="adamw: decoupled weight decay. sgd: momentum, and decay as an L2 penalty on the gradient.",
    )
    lr: float = Field(default=1e-4, gt=0, le=10, description="Peak learning rate.")
    head_lr: float = Field(
        default=0.0, ge=0, le=10, description="Peak learning rate of the new head; 0: the same as `lr`."
    )
    weight_decay: float = Field(
        default=0.01, ge=0, le=1, description="Decay of weight matrices; biases and norm scales are never decayed."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="adamw: decay of the gradient's mean.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="adamw: decay of the gradient's square.")
    eps: float = Field(default=1e-8, gt=0, le=1, description="adamw: added to the denominator.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd: momentum; 0 turns it off.")
    nesterov: bool = Field(default=False, description="sgd: Nesterov's momentum; needs momentum > 0.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="Shape of the decay after the warm-up, down to 0; constant stays at the peak."
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of all steps over which the rate rises from 0.")
    max_grad_norm: float = Field(
        default=1.0, ge=0, le=1e6, description="Global norm to which gradients are clipped; 0: no clipping."
    )
    non_finite: Literal["skip", "stop"] = Field(
        default="skip",
        description="A loss or gradient that is not finite: skip the step and count it (20 in a row stop the job), or "
        "stop at once.",
    )

    @model_validator(mode="after")
    def _nesterov(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is true and momentum is 0; Nesterov's momentum needs momentum > 0")
        return self


class ParallelConfig(ApiModel):
    """How the ranks share the model: dataReplicate x dataShard x tensor = ranks, the last varying fastest."""

    data_shard: int = Field(
        default=1,
        ge=-1,
        le=65536,
        description="Ranks over which parameters, gradients and optimizer state are sharded, layer by layer (FSDP2). "
        "1: DDP. -1: over all ranks that dataReplicate and tensor leave.",
    )
    data_replicate: int = Field(
        default=-1,
        ge=-1,
        le=65536,
        description="Replicas of the model, each on dataShard x tensor neighbouring ranks; several with dataShard "
        "above 1 are hybrid sharding (HSDP). -1: the ranks divided by dataShard and tensor, which follows an elastic "
        "resize.",
    )
    tensor: int = Field(
        default=1,
        ge=1,
        le=65536,
        description="Ranks that compute each layer together on the same sentences, every one a part of its heads and "
        "of its inner width, which this number must divide (tensor parallelism; BERT, RoBERTa, XLM-RoBERTa, CamemBERT, "
        "ELECTRA, DistilBERT, Llama, Qwen2 and Qwen3). They exchange data in every layer: choose a divisor of the "
        "ranks of a pod. 1: none.",
    )

    @model_validator(mode="after")
    def _not_zero(self) -> Self:
        for name, value in (("dataShard", self.data_shard), ("dataReplicate", self.data_replicate)):
            if value == 0:
                raise ValueError(f"{name} is 0; allowed are -1 and 1 or more")
        return self

    def shape(self, ranks: int) -> tuple[int, int, int] | None:
        """Replicas, shards and parts of a layer that so many ranks make, or None when they do not come out even."""
        data, rest = divmod(ranks, self.tensor)
        if rest:
            return None
        shard, replicate = self.data_shard, self.data_replicate
        if shard == -1:
            shard = data if replicate == -1 else data // replicate
        if replicate == -1:
            replicate = data // shard if shard else 0
        return (replicate, shard, self.tensor) if replicate * shard == data else None


class EvaluateConfig(ApiModel):
    """When the dev split is scored."""

    every_steps: int = Field(default=0, ge=0, le=2**31 - 1, description="Steps between two evaluations; 0: each epoch.")
    batch_size: int = Field(default=64, ge=1, le=65536, description="Sentences a rank scores at once.")


class EarlyStoppingConfig(ApiModel):
    """Stop when the strict F1 on dev no longer improves. The best weights are restored in any case."""

    patience: int = Field(
        default=0, ge=0, le=1000, description="Evaluations without improvement after which training stops; 0: never."
    )
    min_delta: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Improvement of F1 (0..1) over the best so far that counts as one. Smaller ones do not add up: "
        "each raises the best, and counts as an evaluation without improvement.",
    )


class TrainerConfig(ApiModel):
    """The built-in trainer's configuration: the whole of `spec.trainer`."""

    task: Literal["ner"] = Field(description="What is learnt. ner: named entities, one tag a word.")
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    parallel: ParallelConfig = Field(default_factory=ParallelConfig)
    strategy: Literal["synchronous"] = Field(
        default="synchronous", description="synchronous: gradients of all ranks are averaged at every step."
    )
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    early_stopping: EarlyStoppingConfig = Field(default_factory=EarlyStoppingConfig)
    epochs: int = Field(default=3, ge=1, le=100000, description="Passes over the training split.")
    batch_size: int = Field(
        default=32,
        ge=1,
        le=2**20,
        description="Sentences in one optimizer step over all ranks; the number of ranks does not change it.",
    )
    micro_batch_size: int = Field(
        default=0,
        ge=0,
        le=2**20,
        description="Sentences that one rank holds at once; a larger share is accumulated. 0: the whole share.",
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="bf16: compute in bfloat16; weights, gradients' sums and optimizer stay in fp32."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the head, the order and the dropout.")
    cpu_threads: int = Field(
        default=1, ge=1, le=1024, description="Threads of one rank on a CPU; more than its cores is far slower."
    )

    @model_validator(mode="after")
    def _micro_fits(self) -> Self:
        if self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"microBatchSize is {self.micro_batch_size} and batchSize {self.batch_size}; "
                "a micro-batch is a part of the batch"
            )
        return self


def parse_trainer(text: str, where: str = "spec.trainer") -> TrainerConfig:
    """Read `spec.trainer` from its JSON text.

    Raises:
        ManifestError: one line for each wrong field, with its path in the manifest, what was found and why not.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"{where}: not JSON: {error}") from None
    return read(TrainerConfig, raw, where)
