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

from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus
from dtj_api.wire import Report

STORE_INDEX = -1
"""`PodView.index` of the store pod."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
    """Condition Ready is True."""
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Reported:
    """The latest that a launcher said of itself."""

    at: float
    """When the operator got it."""
    report: Report


@dataclass(frozen=True)
class Children:
    """Which of the job's other objects exist and are controlled by it (the claim: exists, whoever made it)."""

    service: bool = False
    key: bool = False
    policy: bool = False
    claim: bool = False
    policy_uid: str = ""
    """Of the policy that is there."""


@dataclass(frozen=True)
class DryRun:
    """What the API server said when asked to create one worker pod without storing it."""

    template_hash: str
    """`plan.admission.template_hash` of the spec that was tried."""
    refused: str = ""
    """The API server's message (for instance of a 422, or a 403 of an admission policy); empty: it would be created."""
    at: float = 0.0
    """When it answered. A refusal is tried again later: a quota or a policy may have changed."""


@dataclass(frozen=True)
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
    pods: tuple[PodView, ...] = ()
    children: Children = Children()
    foreign: tuple[str, ...] = ()
    """Names that the job needs and somebody else's objects have, as `Pod/ner-worker-0000`."""
    refused: dict[str, str] = field(default_factory=dict)
    """Names of that form that the API server did not let us make when it was last asked, to its words."""
    nodes: tuple[NodeView, ...] = ()
    reports: dict[str, Reported] = field(default_factory=dict)
    """Pod uid to the launcher's latest report."""
    unanswered: dict[str, float] = field(default_factory=dict)
    """Pod uid to the moment since when its launcher has answered no question; whoever answered last is not in it."""
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
