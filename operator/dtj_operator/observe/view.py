"""What is: one immutable picture of a job, complete enough to plan from it and from nothing else.

The trap it avoids is a plan that depends on something which is not written down: a clock read in the middle, a cache
looked at twice, a counter in memory. A view is a value, goes to JSON and back, and gives the same plan on any machine.
All points in time are seconds since the epoch; durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from dtj_api import names
from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus
from dtj_api.wire import Report

SILENCE = 600.0
"""Seconds for which another release must have written nothing to a job before this one takes it. One that lives writes
to each of its jobs several times in it, see `plan.holder`."""
SLOW_START = 30.0
"""Seconds that a pod may be on its node before it takes long to start."""
STORE_INDEX = -1
"""`PodView.index` of the store pod."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """How the pod's main container (`trainer`, or the store's only one) ended."""

    exit_code: int
    signal: int = 0
    """`state.terminated.signal`; 0: none told. An exit code above 128 says the same in most runtimes."""
    oom_killed: bool = False
    """`state.terminated.reason` is OOMKilled: the kernel killed a process of it at some time, not always at the end."""
    message: str = ""
    """The termination log: the launcher writes the first error there."""
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod that the job controls (by controller uid, whatever its labels say)."""

    name: str
    uid: str
    component: str
    """A `names.Component`, from the label."""
    index: int
    """Worker's index from the label; STORE_INDEX for the store."""
    incarnation: int
    """The label: the incarnation that the pod was created in."""
    phase: str
    """`status.phase`: Pending, Running, Succeeded, Failed or Unknown."""
    created: float = 0.0
    ip: str = ""
    node: str = ""
    """`spec.nodeName`; empty while unscheduled."""
    ready: bool = False
    """The main container's own `ready`: the pod's is False as soon as any container of it has ended."""
    running_since: float | None = None
    """`state.running.startedAt` of the main container; None: it does not run, or not yet."""
    init: str = ""
    """Name of the init container that runs, waits or has failed; empty: none does."""
    init_ended: Terminated | None = None
    """How that one failed; None: it has not."""
    unready_since: float | None = None
    """Since when a container that has been ready is not so any more; None: it is ready, or never was."""
    unschedulable: str = ""
    """Message of condition PodScheduled=False; empty when scheduled or not tried yet."""
    waiting_reason: str = ""
    """First `state.waiting.reason` over init and main containers, ContainerCreating and PodInitializing left out."""
    waiting_message: str = ""
    terminated: Terminated | None = None
    """`state.terminated` of the main container."""
    reason: str = ""
    """`status.reason`: Evicted, NodeLost, UnexpectedAdmissionError, ..."""
    message: str = ""
    """`status.message`."""
    disruption: str = ""
    """Reason of condition DisruptionTarget=True: EvictionByEvictionAPI, PreemptionByScheduler, ..."""
    deletion_at: float | None = None
    """`metadata.deletionTimestamp` as it stands: the end of the grace period. None: nobody deletes the pod."""
    deleted_at: float | None = None
    """When that was asked for: whoever deletes may choose another grace period than the pod's own."""
    held_by: str = ""
    """Finalizers that alone keep the object, which is deleted and has no grace left; empty: none do."""

    @property
    def waits_since(self) -> float | None:
        """Since when it waits for its kubelet to start it; None: it does not."""
        return self.created if self.phase == "Pending" and self.node and self.running_since is None else None


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node on which one of the job's pods is. Of a node that is not in the view nothing is known.

    A node whose object does not exist while a pod names it: `ready` False, `not_ready_since` when the operator first
    noticed. So one that is registered anew, or that the watch brings a moment after the pod, costs no pod.
    """

    name: str
    ready: bool
    """Condition Ready is True."""
    not_ready_since: float | None = None
    """`lastTransitionTime` of condition Ready when it is not True."""
    exists: bool = True
    """Its object is there."""
    out_of_service: bool = False
    """It has the taint `node.kubernetes.io/out-of-service`: somebody says that nothing runs there any more."""
    seen_at: float | None = None
    """When this operator first saw that it is not ready; None: it is."""
    heard_elsewhere: float | None = None
    """When a launcher on another node, of any job, last answered, if that was in the last minute; only of a node that
    is not ready."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What must be known of all nodes before one is given up."""

    nodes: int = 0
    """Nodes that have an object."""
    away: int = 0
    """Of those, nodes that are not ready."""
    told_at: float | None = None
    """When the API server last told anything of nodes, if only that there is nothing to tell; None: never."""
    given_up: int = 0
    """Pods of other jobs, and those of this one that have gone, that were given up with their nodes in the last
    minute."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The latest that a launcher said of itself."""

    at: float
    """When the operator got it."""
    report: Report


@dataclass(frozen=True, slots=True)
class Children:
    """Which of the job's other objects exist and are controlled by it (the claim: exists, whoever made it)."""

    service: bool = False
    key: bool = False
    policy: bool = False
    claim: bool = False
    service_uid: str = ""
    """Of the service that is there."""
    service_digest: str = ""
    """Of its spec."""
    service_altered: bool = False
    """Somebody has edited it: it may find none of the job's workers."""
    service_held_by: str = ""
    """Finalizers that alone keep it, see `PodView`."""
    policy_uid: str = ""
    """Of the policy that is there."""
    policy_digest: str = ""
    """Of its spec."""
    policy_altered: bool = False
    """Somebody has edited it: it may let in whom the job's does not."""
    policy_held_by: str = ""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What the API server said when asked to create one worker pod without storing it."""

    template_hash: str
    """`plan.admission.template_hash` of the spec that was tried."""
    refused: str = ""
    """The API server's message (for instance of a 422, or a 403 of an admission policy); empty: it would be created."""
    at: float = 0.0
    """When it answered. A refusal is tried again later: a quota or a policy may have changed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Who plans: the installation, not the process."""

    managed_by: str = names.OPERATOR
    """The value of `spec.managedBy` that it answers to."""
    release: str = f"default/{names.MANAGED_BY}"
    """Its Lease, as `<namespace>/<name>`. Of the processes that share one a single one acts."""
    metrics_from: tuple[str, ...] = ()
    """The namespaces that jobs may let scrape their workers."""

    def hands_off(self, managed_by: str, status: JobStatus, age: float) -> bool:
        """Whether a job is somebody else's.

        Args:
            managed_by: the job's `spec.managedBy`; empty: the default.
            status: as stored.
            age: seconds for which it has not changed.
        """
        return (managed_by or names.OPERATOR) != self.managed_by or self.is_others(status, age)

    def is_others(self, status: JobStatus, age: float) -> bool:
        """Whether another release acts on the job."""
        return status.operator not in ("", self.release) and age < SILENCE


@dataclass(frozen=True, slots=True, weakref_slot=True)
class JobView:
    """One job and all that belongs to it, at one moment."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_inf_nan="constants")
    """A loss may be NaN: that is worth recording."""

    now: float
    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    created: float
    spec: JobSpec | None
    """None when the stored spec cannot be read; `spec_error` says why."""
    spec_error: str = ""
    deleting: bool = False
    """`metadata.deletionTimestamp` is set: the garbage collector does the rest."""
    managed_by: str = ""
    """`spec.managedBy` as stored, read without the model: an unreadable spec of somebody else is left alone."""
    status: JobStatus = field(default_factory=JobStatus)
    """As stored; an empty one when there is none yet or it cannot be read."""
    status_error: str = ""
    """Why it cannot be read. It is all that is remembered of the job: without it nothing is made or deleted."""
    status_age: float = 0.0
    """Seconds since this process first saw the status as it is, on its own clock that only grows: a time that another
    release wrote is as good as the clock over there."""
    operator: Installation = Installation()
    """Who plans."""
    pods: tuple[PodView, ...] = ()
    children: Children = Children()
    foreign: tuple[str, ...] = ()
    """Names that the job needs and somebody else's objects have, as `Pod/ner-worker-0000`."""
    refused: dict[str, str] = field(default_factory=dict)
    """Names of that form that the API server did not let us make when it was last asked, to its words."""
    unread: dict[str, str] = field(default_factory=dict)
    """Names of that form that it did not let us look at, to its words."""
    nodes: tuple[NodeView, ...] = ()
    cluster: Cluster = Cluster()
    reports: dict[str, Reported] = field(default_factory=dict)
    """Pod uid to the launcher's latest report."""
    unanswered: dict[str, float] = field(default_factory=dict)
    """Pod uid to the moment since when its launcher has answered no question; whoever answered last is not in it."""
    unreadable: tuple[str, ...] = ()
    """Uids of the pods whose launchers answered last with what is no report."""
    refusing: tuple[str, ...] = ()
    """Uids of the pods whose launchers hold another key than the Secret does, so that no message reaches them."""
    dry_run: DryRun | None = None

    def to_json(self) -> str:
        """The view as JSON, keys in the order of the fields."""
        return _adapter().dump_json(self, by_alias=True, indent=1).decode()

    @staticmethod
    def from_json(text: str | bytes) -> JobView:
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: not a view; the text names each field.
        """
        return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[JobView]:
    return TypeAdapter(JobView)
