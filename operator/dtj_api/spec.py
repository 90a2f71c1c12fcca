"""The models of `spec`: what a user asks for.

A field is here once the operator acts on it, never before: a field that is accepted and ignored is a silent lie.
Defaults that follow from another field (minReplicas from replicas) are computed by properties, never written into the
object: `kubectl scale` would break on a stale minReplicas that nobody asked for.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .base import IMMUTABLE, ApiModel, DnsName, Rule, rules, with_rules
from .checkpoint import Checkpoint
from .failure_policy import FailurePolicy
from .names import OPERATOR
from .network import Network
from .peer import Peer
from .resources import Resources
from .scalars import Duration, at_least
from .template import (
    RULE_COMMAND_AND_TRAINER,
    RULE_NO_COMMAND,
    RULE_SHARED_MEMORY,
    PodTemplate,
    command_problem,
    shared_memory_problem,
    trainer_container,
)
from .trainer import TrainerConfig
from .trainer_rules import TRAINER_RULES

MAX_WORKERS = 10_000
"""Four digits in `<job>-worker-NNNN`."""
MAX_PROCESSES = 64
_COUNT = re.compile(r"[0-9]{1,9}")
_GPU = re.compile(r"(nvidia\.com/(gpu|mig-.+)|amd\.com/gpu)")

WHILE_SUSPENDED = "can be changed only while the job is suspended; set spec.suspend to true first"
WITHOUT_PODS = (
    "can be changed only before the first pod is made or while the job is suspended; set spec.suspend to true first"
)
NO_POD_YET = (
    "has({0}.status) && has({0}.status.startTime) && (!has({0}.status.templateHash) || {0}.status.templateHash == '')"
)
"""CEL about an object as stored: no pod has been made of it, nor is one being made."""
MIN_ABOVE_REPLICAS = "minReplicas is above replicas; lower minReplicas or raise replicas"
TOO_MANY = f"replicas and spares together are above {MAX_WORKERS}; lower one of them"
REPLICAS_ABOVE_MAX = "replicas is above maxReplicas; lower replicas or raise maxReplicas"
PROCESSES = f"must be `auto` (the GPUs in the pod's limits, else 1) or a number from 1 to {MAX_PROCESSES}"


def _auto_or_number(value: object) -> object:
    """One answer where a union would give one for each of its types."""
    if value == "auto" or (type(value) is int and 1 <= value <= MAX_PROCESSES):
        return value
    raise ValueError(PROCESSES)


class Workers(ApiModel):
    """The pods that train."""

    model_config = with_rules(
        Rule("!has(self.minReplicas) || self.minReplicas <= self.replicas", MIN_ABOVE_REPLICAS, ".minReplicas"),
        Rule("!has(self.maxReplicas) || self.replicas <= self.maxReplicas", REPLICAS_ABOVE_MAX, ".replicas"),
        Rule(f"self.replicas + self.spares <= {MAX_WORKERS}", TOO_MANY, ".spares"),
    )

    replicas: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 1
    """Worker pods wanted now. Mutable, also by `kubectl scale`."""
    min_replicas: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | None = None
    """Fewest workers that training goes on with: 30 s after a worker was lost whose replacement has not come, and at a
    start once `schedule.startTimeout` is over. Default: replicas, so the job is not elastic."""
    max_replicas: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | None = None
    """Most workers that replicas may be scaled to. Default: replicas may be scaled freely."""
    spares: Annotated[int, Field(ge=0, le=1000)] = 0
    """More pods of the same kind that stand ready, with torch imported, and take the place of a lost worker at once.
    They hold their GPUs meanwhile. Mutable."""
    processes_per_worker: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_PROCESSES)],
        BeforeValidator(_auto_or_number),
        Field(
            json_schema_extra=rules(
                Rule(f"type(self) == int ? self >= 1 && self <= {MAX_PROCESSES} : self == 'auto'", PROCESSES)
            )
        ),
    ] = "auto"
    """Ranks in each pod. `auto`: the GPUs in the pod's limits, else 1."""
    template: PodTemplate
    """The worker pod, as a PodTemplateSpec with a container named `trainer`. Mutable before the first pod is made, and
    while suspended."""

    @property
    def effective_min(self) -> int:
        """The fewest workers that training goes on with."""
        return self.replicas if self.min_replicas is None else self.min_replicas

    @property
    def processes(self) -> int:
        """Ranks of one worker: the number given, or the GPUs in the container's limits, or 1."""
        if self.processes_per_worker != "auto":
            return self.processes_per_worker
        limits = (trainer_container(self.template).get("resources") or {}).get("limits") or {}
        gpus = (str(amount) for name, amount in limits.items() if _GPU.fullmatch(name))
        return sum(int(amount) for amount in gpus if _COUNT.fullmatch(amount)) or 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_replicas is not None and self.min_replicas > self.replicas:
            raise ValueError(MIN_ABOVE_REPLICAS)
        if self.max_replicas is not None and self.replicas > self.max_replicas:
            raise ValueError(REPLICAS_ABOVE_MAX)
        if self.replicas + self.spares > MAX_WORKERS:
            raise ValueError(TOO_MANY)
        return self


class Launcher(ApiModel):
    """How the ranks are started."""

    type: Literal["Elastic"] = "Elastic"
    """Elastic: torchrun with the settings that make restart in place work, started by this project's launcher."""
    # A default would be written into every job by the API server, and an operator of the version before refuses it.
    preload: bool | None = None
    """Ranks of `python FILE` and `python -m MODULE` are forked from a process that has imported torch, which saves
    seconds at each start. False: each is an interpreter of its own, so that what a script sets in `os.environ` before
    `import torch` has its effect; hangs are then found without stacks, and slow ranks are not named. Default: true."""
    resources: Resources | None = None
    """Requests and limits of the init container that brings the launcher into other images than the trainer's. Default:
    20m and 64Mi, at most 128Mi; and at most one CPU where the container `trainer` has a limit on it."""


class Rendezvous(ApiModel):
    """How the workers meet."""

    join_timeout: Annotated[Duration, *at_least("1s")] = Duration(600)
    """How long a worker waits for enough others to form a round."""
    heartbeat: Annotated[Duration, *at_least("100ms")] = Duration(2)
    """How often each worker says that it lives."""
    heartbeat_misses: Annotated[int, Field(ge=2, le=1000)] = 5
    """Heartbeats missed in a row after which the others leave a worker behind."""
    last_call: Annotated[Duration, *at_least("0s")] = Duration(1)
    """How long a round that has enough workers waits for more."""
    resources: Resources | None = None
    """Requests and limits of the store's container. Default: 20m and 64Mi, at most 128Mi; and at most one CPU where the
    container `trainer` has a limit on it, as under a quota."""


class Schedule(ApiModel):
    """How the pods are scheduled."""

    priority_class_name: DnsName | None = None
    """PriorityClass of the pods, where the template names none."""
    start_timeout: Annotated[Duration, *at_least("1s")] | None = None
    """How long a start or a resume waits for all replicas; after that minReplicas are enough, and a job that has not
    even those is Failed. Default: it waits without end. A job that has trained waits 30 s at most for the replacement
    of a lost worker before minReplicas are enough."""


class Lifecycle(ApiModel):
    """When the job ends and what is left of it."""

    active_deadline: Annotated[Duration, *at_least("1s")] | None = None
    """Time that the job may take, not counting while it is suspended. Default: no limit."""
    ttl_after_finished: Duration | None = None
    """The job is deleted so long after it finished. Default: never."""
    clean_pods: Literal["Running", "All", "None"] = "Running"
    """Pods that are deleted when the job finishes. Running keeps those that have ended, for their logs."""


class Metrics(ApiModel):
    """The worker pods' metrics."""

    interval: Annotated[Duration, *at_least("1s")] = Duration(5)
    """How often the ranks' progress is read and written to the status. Whatever this says, it is read at least every
    5 s, and where nothing else has changed it is written at most every 5 s, and ten times a second for all jobs
    together: a thousand jobs that train show progress that is up to two minutes old."""
    from_: list[Peer] = Field(default_factory=list, alias="from", max_length=16)
    """Who else may scrape the workers' metrics, as peers of a NetworkPolicy that name a namespace, for instance
    `{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}`; a podSelector alone means the
    job's own. The chart's `jobs.metricsFrom` must have that namespace. A change takes effect in a job that runs."""


def _only_while_suspended(field: str, optional: bool = False) -> Rule:
    """A field that shapes the running pods."""
    same = _same(field, "self", optional)
    return Rule(f"self.suspend || oldSelf.suspend || {same}", f"{field}: {WHILE_SUSPENDED}", f".{field}")


def _only_without_pods(field: str, optional: bool = False) -> Rule:
    """What pods are made from, as a rule of the whole object: free as well until the first pod is made.

    A status without the template's digest says so, once there is one: what a job's first pods are made from is
    written before they are made, unless nothing has been written about the job at all.

    Of the template this rule misses one edit, undeclared fields exchanged one for one; the chart's admission policy
    sees that too.
    """
    same = _same(field, "self.spec", optional)
    return Rule(
        f"self.spec.suspend || oldSelf.spec.suspend || ({NO_POD_YET.format('oldSelf')}) || {same}",
        f"spec.{field}: {WITHOUT_PODS}",
        f".spec.{field}",
    )


def _same(field: str, spec: str, optional: bool) -> str:
    new, old = f"{spec}.{field}", f"{spec.replace('self', 'oldSelf')}.{field}"
    return f"(has({new}) ? has({old}) && {new} == {old} : !has({old}))" if optional else f"{new} == {old}"


class JobSpec(ApiModel):
    """`spec` of a DistributedTrainingJob."""

    model_config = with_rules(
        RULE_NO_COMMAND,
        RULE_COMMAND_AND_TRAINER,
        RULE_SHARED_MEMORY,
        Rule("has(self.checkpoint) == has(oldSelf.checkpoint)", f"checkpoint: {IMMUTABLE}", ".checkpoint"),
        _only_while_suspended("checkpoint", optional=True),
        _only_while_suspended("workers.processesPerWorker"),
        _only_while_suspended("launcher"),
        _only_while_suspended("rendezvous"),
        _only_while_suspended("network"),
    )

    suspend: bool = False
    """True: the pods are deleted and the checkpoints kept; false again: training goes on from the last one."""
    managed_by: str = Field(
        default=OPERATOR,
        min_length=1,
        max_length=63,
        json_schema_extra=rules(Rule("self == oldSelf", f"managedBy: {IMMUTABLE}")),
    )
    """The controller that is responsible. An operator leaves a job with any other value than its own alone, which the
    chart's `managedBy` sets. Immutable."""
    workers: Workers
    launcher: Launcher = Launcher()
    rendezvous: Rendezvous = Rendezvous()
    network: Network = Network()
    checkpoint: Checkpoint | None = None
    """Without it the job has no volume: nothing outlives its pods."""
    failure_policy: FailurePolicy = FailurePolicy()
    schedule: Schedule = Schedule()
    lifecycle: Lifecycle = Lifecycle()
    metrics: Metrics = Metrics()
    trainer: TrainerConfig | None = Field(default=None, json_schema_extra=rules(*TRAINER_RULES))
    """The built-in trainer's configuration. Without it the command of the template's container `trainer` runs."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problem = command_problem(self.workers.template, self.trainer is not None) or shared_memory_problem(
            self.workers.template, self.network.shared_memory
        )
        if problem:
            raise ValueError(problem)
        return self


OBJECT_RULES = (_only_without_pods("workers.template"), _only_without_pods("trainer", optional=True))
"""Rules of the whole object: they look at its status too."""
