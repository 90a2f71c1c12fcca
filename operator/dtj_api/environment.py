"""What launchers are told of a job's spec by their environment, on a cluster and by `dtj run` alike."""

from __future__ import annotations

from .failure_policy import Hang
from .names import Env
from .spec import JobSpec
from .template import grace_seconds


def launcher_environment(spec: JobSpec) -> dict[str, str]:
    """Variables for the launchers of a job, in a fixed order."""
    rendezvous, failures = spec.rendezvous, spec.failure_policy
    variables: dict[str, str] = {
        Env.JOIN_TIMEOUT: _seconds(rendezvous.join_timeout),
        Env.HEARTBEAT: _seconds(rendezvous.heartbeat),
        Env.HEARTBEAT_MISSES: str(rendezvous.heartbeat_misses),
        Env.LAST_CALL: _seconds(rendezvous.last_call),
        Env.STEP_TIMEOUT: _step_timeout(failures.hang),
        Env.BACKOFF_INITIAL: _seconds(failures.backoff.initial),
        Env.BACKOFF_MAX: _seconds(failures.backoff.max),
        Env.GRACE_SECONDS: str(grace_seconds(spec.workers.template)),
        **_saving(spec),
    }
    # Only where it is not the default: pods of an earlier version are as they would be made now.
    if spec.launcher.preload is False:
        variables[Env.LAUNCHER_PRELOAD] = "false"
    if failures.max_restarts == 0:
        variables[Env.MAX_RESTARTS] = "0"
    if spec.trainer is not None:
        variables[Env.TRAINER_CONFIG] = spec.trainer.model_dump_json(by_alias=True)
    return variables


def _saving(spec: JobSpec) -> dict[str, str]:
    if spec.checkpoint is None:
        return {}
    every = spec.checkpoint.every
    values = {
        Env.SAVE_EVERY_STEPS: every.steps,
        Env.SAVE_EVERY_SECONDS: every.seconds,
        Env.SAVE_EVERY_AUTO: 1 if every.auto else None,
        Env.SAVE_KEEP_EVERY: spec.checkpoint.keep_every,
        Env.MEMORY_EVERY_STEPS: spec.checkpoint.memory_every,
    }
    cadence: dict[str, str] = {name: str(value) for name, value in values.items() if value is not None}
    keep, on_failure = str(spec.checkpoint.keep), spec.checkpoint.on_failure.value
    return {**cadence, Env.SAVE_KEEP: keep, Env.SAVE_ON_FAILURE: on_failure}


def _step_timeout(hang: Hang) -> str:
    if hang.action == "None":
        return "none"
    return "auto" if hang.seconds is None else _seconds(hang.seconds)


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
