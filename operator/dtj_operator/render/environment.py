"""The environment of the trainer container: what the launcher is told, and NCCL where the user is silent."""

from __future__ import annotations

import re
from typing import Any

from dtj_api import names
from dtj_api.failure_policy import Hang
from dtj_api.names import Env
from dtj_api.spec import JobSpec
from dtj_api.template import grace_seconds, trainer_container
from dtj_operator.observe.view import JobView


def environment(view: JobView, spec: JobSpec, index: int) -> list[dict[str, Any]]:
    """Variables to append to the template's own, in a fixed order. Reserved names cannot be in the template."""
    template = spec.workers.template
    rendezvous = spec.rendezvous
    variables: dict[str, str] = {
        Env.JOB_NAME: view.name,
        Env.JOB_UID: view.uid,
        Env.INDEX: str(index),
        Env.PROCESSES: str(spec.workers.processes),
        Env.WORK_DIR: work_dir(view, spec),
        Env.KEY_FILE: f"{names.KEY_MOUNT}/{names.KEY_FIELD}",
        Env.METRICS_PORT: str(names.METRICS_PORT),
        Env.JOIN_TIMEOUT: _seconds(rendezvous.join_timeout),
        Env.HEARTBEAT: _seconds(rendezvous.heartbeat),
        Env.HEARTBEAT_MISSES: str(rendezvous.heartbeat_misses),
        Env.LAST_CALL: _seconds(rendezvous.last_call),
        Env.STEP_TIMEOUT: _step_timeout(spec.failure_policy.hang),
        Env.BACKOFF_INITIAL: _seconds(spec.failure_policy.backoff.initial),
        Env.BACKOFF_MAX: _seconds(spec.failure_policy.backoff.max),
        Env.GRACE_SECONDS: str(grace_seconds(template)),
        **_saving(spec),
    }
    if spec.trainer is not None:
        variables[Env.TRAINER_CONFIG] = spec.trainer.model_dump_json(by_alias=True)
    from_fields = {Env.POD_NAME: "metadata.name", Env.POD_UID: "metadata.uid", Env.POD_IP: "status.podIP"}
    given = {each.get("name") for each in trainer_container(template).get("env", [])}
    network = {name: value for name, value in _network(spec).items() if name not in given}
    return [
        *({"name": str(name), "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in from_fields.items()),
        *({"name": str(name), "value": _literal(value)} for name, value in {**variables, **network}.items()),
    ]


def work_dir(view: JobView, spec: JobSpec) -> str:
    """The job's directory as the container sees it; empty without a volume."""
    if spec.checkpoint is None:
        return ""
    return f"{names.VOLUME_MOUNT}/{spec.checkpoint.directory(view.name, view.uid)}"


def _saving(spec: JobSpec) -> dict[str, str]:
    if spec.checkpoint is None:
        return {}
    every = spec.checkpoint.every
    values = {Env.SAVE_EVERY_STEPS: every.steps, Env.SAVE_EVERY_SECONDS: every.seconds}
    values |= {Env.SAVE_EVERY_AUTO: 1 if every.auto else None, Env.SAVE_KEEP_EVERY: spec.checkpoint.keep_every}
    values |= {Env.MEMORY_EVERY_STEPS: spec.checkpoint.memory_every}
    cadence: dict[str, str] = {name: str(value) for name, value in values.items() if value is not None}
    keep, on_failure = str(spec.checkpoint.keep), spec.checkpoint.on_failure.value
    if spec.checkpoint.memory_every is not None:
        cadence[Env.MEMORY_DIR] = names.MEMORY_DIR
    return {**cadence, Env.SAVE_KEEP: keep, Env.SAVE_ON_FAILURE: on_failure}


def _step_timeout(hang: Hang) -> str:
    if hang.action == "None":
        return "none"
    return "auto" if hang.seconds is None else _seconds(hang.seconds)


def _network(spec: JobSpec) -> dict[str, str]:
    nccl = spec.network.nccl
    variables: dict[str, str] = {}
    if nccl.socket_interface is not None:
        variables["NCCL_SOCKET_IFNAME"] = nccl.socket_interface
        if re.fullmatch(r"[A-Za-z0-9._-]+", nccl.socket_interface):
            variables["GLOO_SOCKET_IFNAME"] = nccl.socket_interface
    if nccl.debug is not None:
        variables["NCCL_DEBUG"] = nccl.debug
    return {**variables, **dict(sorted(nccl.env.items()))}


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _literal(value: str) -> str:
    """Kubernetes expands `$(NAME)` in values; `$$` is how it is told not to."""
    return value.replace("$", "$$")
