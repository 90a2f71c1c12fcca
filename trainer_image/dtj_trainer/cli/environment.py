"""What `dtj run` tells its launchers of a manifest: what the operator tells them, and what a container would."""

from __future__ import annotations

from dtj_api.environment import launcher_environment
from dtj_api.spec import JobSpec


def environment(spec: JobSpec) -> dict[str, str]:
    """Variables for the launchers of a job."""
    threads = {} if spec.trainer is None else {"OMP_NUM_THREADS": str(spec.trainer.cpu_threads)}
    return {**launcher_environment(spec), **threads}
