"""What the operator would tell the launchers, as far as it comes from the manifest.

The operator is no part of the trainer's image, so it cannot be asked; a test compares this with what it says.
"""

from __future__ import annotations

from dtj_api.failure_policy import Hang
from dtj_api.names import Env
from dtj_api.spec import JobSpec
from dtj_api.template import grace_seconds


def environment(spec: JobSpec) -> dict[str, str]:
    """Variables for the launchers of a job of the built-in trainer."""
    assert spec.trainer is not None
    rendezvous, failures = spec.rendezvous, spec.failure_policy
    values: dict[str, str] = {
        Env.TRAINER_CONFIG: spec.trainer.model_dump_json(by_alias=True),
        Env.JOIN_TIMEOUT: _seconds(rendezvous.join_timeout),
        Env.HEARTBEAT: _seconds(rendezvous.heartbeat),
        Env.HEARTBEAT_MISSES: str(rendezvous.heartbeat_misses),
        Env.LAST_CALL: _seconds(rendezvous.last_call),
        Env.STEP_TIMEOUT: _step_timeout(failures.hang),
        Env.BACKOFF_INITIAL: _seconds(failures.backoff.initial),
        Env.BACKOFF_MAX: _seconds(failures.backoff.max),
        Env.GRACE_SECONDS: str(grace_seconds(spec.workers.template)),
        "OMP_NUM_THREADS": str(spec.trainer.cpu_threads),
    }
    if spec.checkpoint is not None:
        every = {
            Env.SAVE_EVERY_STEPS: spec.checkpoint.every.steps,
            Env.SAVE_EVERY_SECONDS: spec.checkpoint.every.seconds,
            Env.SAVE_EVERY_AUTO: 1 if spec.checkpoint.every.auto else None,
            Env.SAVE_KEEP_EVERY: spec.checkpoint.keep_every,
            Env.MEMORY_EVERY_STEPS: spec.checkpoint.memory_every,
        }
        values |= {name: str(value) for name, value in every.items() if value is not None}
        values[Env.SAVE_KEEP] = str(spec.checkpoint.keep)
        values[Env.SAVE_ON_FAILURE] = spec.checkpoint.on_failure.value
    return values


def _step_timeout(hang: Hang) -> str:
    if hang.action == "None":
        return "none"
    return "auto" if hang.seconds is None else _seconds(hang.seconds)


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
