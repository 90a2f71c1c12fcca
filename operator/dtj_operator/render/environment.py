"""The environment of the trainer container: what the launcher is told, and NCCL where the user is silent."""

from __future__ import annotations

import re
from typing import Any

from dtj_api import names
from dtj_api.environment import launcher_environment
from dtj_api.names import Env
from dtj_api.spec import JobSpec
from dtj_api.template import trainer_container
from dtj_operator.observe.view import JobView


def environment(view: JobView, spec: JobSpec, index: int) -> list[dict[str, Any]]:
    """Variables to append to the template's own, in a fixed order. Reserved names cannot be in the template."""
    template = spec.workers.template
    variables: dict[str, str] = {
        Env.JOB_NAME: view.name,
        Env.JOB_UID: view.uid,
        Env.INDEX: str(index),
        Env.PROCESSES: str(spec.workers.processes),
        Env.WORK_DIR: work_dir(view, spec),
        Env.KEY_FILE: f"{names.KEY_MOUNT}/{names.KEY_FIELD}",
        Env.METRICS_PORT: str(names.METRICS_PORT),
        **launcher_environment(spec),
    }
    if spec.checkpoint is not None and spec.checkpoint.memory_every is not None:
        variables[Env.MEMORY_DIR] = names.MEMORY_DIR
    from_fields = {Env.POD_NAME: "metadata.name", Env.POD_UID: "metadata.uid", Env.POD_IP: "status.podIP"}
    given = {each.get("name") for each in trainer_container(template).get("env") or ()}
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


def _literal(value: str) -> str:
    """Kubernetes expands `$(NAME)` in values; `$$` is how it is told not to."""
    return value.replace("$", "$$")
