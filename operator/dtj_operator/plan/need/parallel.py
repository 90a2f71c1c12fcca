"""`trainer.parallel` and the number of workers: a layout that the ranks do not come out even in cannot train.

While nothing runs such a spec is refused. A job that runs may come to one by an edit or by `kubectl scale`, which looks
at one field only: it goes on in its present size, as if the edit had not been made, and says so.
"""

from __future__ import annotations

from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus


def misfit(spec: JobSpec) -> str | None:
    """Why `trainer.parallel` does not fit a size that the job may come to by itself, or None."""
    if spec.trainer is None:
        return None
    workers, parallel = spec.workers, spec.trainer.parallel
    for size in range(workers.effective_min, workers.replicas + 1):
        ranks = size * workers.processes
        if parallel.shape(ranks) is None:
            return (
                f"spec.trainer.parallel: dataShard {parallel.data_shard} x dataReplicate {parallel.data_replicate} x "
                f"tensor {parallel.tensor} does not make the {ranks} ranks of {size} workers, and the job may go on "
                f"with any number from {workers.effective_min} to {workers.replicas}; use -1, which follows it in "
                "steps of tensor, or leave minReplicas out"
            )
    return None


def in_force(spec: JobSpec, status: JobStatus) -> JobSpec:
    """The spec that a job follows: its own, or the same in the size that it had before that did not fit any more."""
    if not status.template_hash or misfit(spec) is None:
        return spec
    for size in (status.workers.desired, len(status.members)):
        if size:
            workers = spec.workers.model_copy(update={"replicas": size, "min_replicas": None})
            held = spec.model_copy(update={"workers": workers})
            if misfit(held) is None:
                return held
    return spec
