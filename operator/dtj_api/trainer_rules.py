"""What the API server checks between the fields of `spec.trainer`.

The trainer's models say the same to whoever runs without a cluster; here it is said in CEL, so that `kubectl apply`
refuses what would otherwise fail in a pod minutes later. A table of bad manifests keeps both in step.
"""

from __future__ import annotations

from .base import Rule

_FILES = "(self.data.train != '' && self.data.dev != '' && self.data.test != '')"
_NO_FILES = "(self.data.train == '' && self.data.dev == '' && self.data.test == '')"

TRAINER_RULES = (
    Rule(
        f"self.data.file != '' ? {_NO_FILES} && has(self.data.split) : {_FILES} && !has(self.data.split)",
        "data needs either file with split, or train, dev and test; the other fields must be absent",
        ".data",
    ),
    Rule(
        "!has(self.data.split) || "
        "(self.data.split.shuffleSplit.sum() - 1.0 < 0.000001 && self.data.split.shuffleSplit.sum() - 1.0 > -0.000001)",
        "the three shares of shuffleSplit must add up to 1, for instance [0.8, 0.1, 0.1]",
        ".data.split.shuffleSplit",
    ),
    Rule(
        "self.data.labels.all(label, self.data.labels.exists_one(other, other == label))",
        "labels names a type twice; remove one of them",
        ".data.labels",
    ),
    Rule(
        "!has(self.data.labelMap) || "
        "self.data.labelMap.all(kind, self.data.labelMap[kind] == 'O' || self.data.labelMap[kind] in self.data.labels)",
        "each value of labelMap must be O or one of the labels",
        ".data.labelMap",
    ),
    Rule(
        "!has(self.optimizer) || !self.optimizer.nesterov || self.optimizer.momentum > 0.0",
        "Nesterov's momentum needs momentum above 0",
        ".optimizer.momentum",
    ),
    Rule(
        "!has(self.parallel) || self.parallel.dataShard != 0",
        "must be -1 (all ranks that dataReplicate and tensor leave) or 1 or more",
        ".parallel.dataShard",
    ),
    Rule(
        "!has(self.parallel) || self.parallel.dataReplicate != 0",
        "must be -1 (the ranks divided by dataShard and tensor) or 1 or more",
        ".parallel.dataReplicate",
    ),
    Rule(
        "self.microBatchSize <= self.batchSize",
        "a micro-batch is a part of the batch; lower microBatchSize or raise batchSize",
        ".microBatchSize",
    ),
)
