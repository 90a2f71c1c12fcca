"""The models of `status`: everything that the operator remembers about a job.

Nothing is kept in memory only and nothing in annotations: an operator that starts anew reads these fields and goes on.
Counters go here before the evidence for them is destroyed, with a cursor that says what has been counted.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_serializer

from .base import StatusModel
from .known_pods import MAX_PODS, PLAIN_PODS, KnownPod, pack, unpack
from .names import Phase
from .scalars import Measure, Timestamp

ConditionStatus = Literal["True", "False", "Unknown"]
Text = Annotated[str, Field(max_length=32768)]


class JobCondition(StatusModel):
    """One condition, as Kubernetes defines it. The list is a map by type."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    status: ConditionStatus
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    message: Text = ""
    observed_generation: int = 0
    last_transition_time: Timestamp
    """When `status` last changed; not when reason or message did."""


class WorkerCounts(StatusModel):
    """Counts of worker pods."""

    desired: int = 0
    """Pods that should be there now; 0 while suspended and when the job is done."""
    ready: int = 0
    active: int = 0
    """Pods that exist, have not ended, and take part or are to."""
    spare: int = 0
    """Further ones that stand ready, or will."""
    failed: int = 0


class RoundCursor(StatusModel):
    """The last round whose end has been counted. Order: incarnation, then round."""

    incarnation: int = 0
    round: int = 0


class Restarts(StatusModel):
    """Restarts over the life of the job. They only grow."""

    counted: int = 0
    """Charged to `failurePolicy.maxRestarts`."""
    excused: int = 0
    """Caused by the infrastructure: not charged."""
    by_cause: dict[str, int] = Field(default_factory=dict)
    """Keys are values of `names.Cause`; their sum is counted + excused."""
    recent: tuple[Timestamp, ...] = ()
    """When the charged restarts within `failurePolicy.window` happened, oldest first; at most maxRestarts + 1."""
    last_cause: str = ""
    """Cause of the last one."""
    last_message: Text = ""
    """What the last one was, with the error and the end of its log where there is one."""


class JobProgress(StatusModel):
    """What the ranks report of the training. A field that the script does not report is absent."""

    step: int | None = None
    """Optimizer steps done."""
    total_steps: int | None = None
    epoch: Measure = None
    loss: Measure = None
    tokens_per_second: Measure = None
    samples_per_second: Measure = None
    eta: Timestamp | None = None
    """When the last step is expected to be done."""
    updated_at: Timestamp | None = None
    message: str = ""
    """`not reported` while the ranks run and say nothing through `dtj`."""


class CheckpointStatus(StatusModel):
    """The last checkpoint that was published on the volume."""

    last_step: int | None = None
    last_time: Timestamp | None = None
    interval: float | None = None
    """Seconds between two, where `checkpoint.every.auto` finds them."""
    damaged: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=5)] = ()
    """The last ones that were found damaged and passed over, as `<name>: <what is wrong>`, oldest first."""
    failed: int = 0
    """Saves in a row that failed since the last one that was published."""
    failed_at: Timestamp | None = None
    """When the last one of them did."""


class StoreStatus(StatusModel):
    """The rendezvous store that the current incarnation meets at."""

    address: str = ""
    """`<ip>:<port>`; empty until the members of the current incarnation are told to meet there."""
    uid: str = ""
    """Uid of the store's pod. Another pod under the same name is another store, hence another incarnation."""
    unreached: int = 0
    """Stores in a row that were replaced although their pods ran, since members could not reach them."""
    error: Text = ""
    """How the last one ended, with its words; empty once the job has trained at its successor."""
    create_after: Timestamp | None = None
    """The next one is not made before this."""


class NewcomerStatus(StatusModel):
    """Workers that are no members: spares, and those that the others train on without."""

    in_vain: int = 0
    """Times in a row that pods of any workers were lost which had never trained, since one of these, or all that should
    train, began to. One later than its pause and `backoff.max` after the one before it is the first of another row."""
    in_vain_at: Timestamp | None = None
    """When the last one was counted."""
    create_after: Timestamp | None = None
    """No pod of theirs is made before this."""


class ExcludedNode(StatusModel):
    """A node that new pods of the job avoid."""

    name: str
    until: Timestamp
    why: Annotated[str, Field(max_length=1024)] = ""


class CrashLoopStatus(StatusModel):
    """How often the last failure has repeated itself."""

    step: int | None = None
    """The last step before it."""
    same_step: int = 0
    """Failures in a row after that step."""
    error: Annotated[str, Field(max_length=1024)] = ""
    """The user's error that it was, or would be if it came again; else empty."""
    same_error: int = 0
    """How often in a row."""
    reached: int | None = None
    """The last step that the job was known to have made by then; absent where none was told."""
    at: Timestamp | None = None
    """When it failed; absent: nobody knows."""


class Interruption(StatusModel):
    """Training stands still, and has not made a step since."""

    at: Timestamp
    """When it was lost."""
    cause: str
    """A value of `names.Cause`: the first one, whatever failed on top of it."""
    node: str = ""
    detected_at: Timestamp
    """When the operator counted it."""
    met_at: Timestamp | None = None
    """When the members were told to meet; absent while pods are waited for, and where the pods stayed."""
    step: int | None = None
    """The last step that the status told then."""
    pod_failed: bool = False
    """A worker's pod failed by itself, and that was charged."""


class GivenUp(StatusModel):
    """What was seen after which no restart helps: the job fails by it as soon as it is not suspended."""

    reason: str
    """A value of `names.Reason`."""
    message: Text = ""


class Recovery(StatusModel):
    """One interruption of the training that is over."""

    at: Timestamp
    cause: str
    node: str = ""
    """Where it began, if it was one node's."""
    phases: dict[str, float] = Field(default_factory=dict)
    """Seconds in each phase (`names.RecoveryPhase`); their sum is `seconds`."""
    seconds: float = 0.0
    """From the loss to the next step; to the start of the ranks where the script reports no steps."""
    steps_redone: int | None = None
    """Steps that had been made and were made again; absent where nobody reports steps."""


class RecoveryTotals(StatusModel):
    """All recoveries over the life of the job. They only grow."""

    count: int = 0
    seconds: float = 0.0
    steps_redone: int = 0
    phases: dict[str, float] = Field(default_factory=dict)
    """Seconds in each phase."""
    buckets: tuple[int, ...] = ()
    """How many took at most `names.RECOVERY_BUCKETS` seconds, bucket by bucket, not cumulated; the last: more."""


class SlowRank(StatusModel):
    """A rank that holds up the others."""

    rank: int
    pod: str
    node: str
    ratio: float
    """Its own time for a step, without its wait for others, over the median of the others' own times."""


class SaveRequest(StatusModel):
    """A checkpoint that was asked for before a resize."""

    id: str
    requested_at: Timestamp


class JobStatus(StatusModel):
    """`status` of a DistributedTrainingJob."""

    phase: Phase = Phase.PENDING
    observed_generation: int = 0
    conditions: tuple[JobCondition, ...] = ()
    workers: WorkerCounts = WorkerCounts()
    selector: str = ""
    """Label selector of the worker pods, for the scale subresource."""
    incarnation: int = 0
    """Bumped when all agents must meet anew; never reused. 0: nobody has met yet."""
    incarnation_at: Timestamp | None = None
    """When the current incarnation was begun."""
    oldest_incarnation: int = 0
    """Pods created in an incarnation below this one belong to a stretch before a suspension: they are deleted."""
    members: tuple[int, ...] = ()
    """Indices of the workers that meet in this incarnation, ascending."""
    min_members: int = 0
    """Members that are enough for the incarnation to form; what `meet` says."""
    finished_members: tuple[int, ...] = ()
    """Members whose ranks have all exited 0 in this incarnation, ascending. Such a pod is not replaced when it goes."""
    save: SaveRequest | None = None
    """The save that a resize waits for."""
    store: StoreStatus = StoreStatus()
    pods: Annotated[tuple[KnownPod, ...], Field(max_length=MAX_PODS), AfterValidator(unpack)] = ()
    """The worker pods that the job counts on, by index. Many are stored in one entry."""
    counted: RoundCursor = RoundCursor()
    counted_pods: Annotated[tuple[str, ...], Field(max_length=MAX_PODS)] = ()
    """Uids of pods whose end has been counted and whose objects are still there."""
    create_after: Timestamp | None = None
    """No lost pod is replaced before this: the back-off of `failurePolicy.backoff`."""
    trained: int = 0
    """The last incarnation that trained."""
    in_vain: int = 0
    """Times in a row that the store, or members that had never trained, were lost since the job last trained. One later
    than its pause and `backoff.max` after the one before it is the first of another row."""
    in_vain_at: Timestamp | None = None
    """When the last one was counted."""
    newcomers: NewcomerStatus = NewcomerStatus()
    restarts: Restarts = Restarts()
    excluded_nodes: Annotated[tuple[ExcludedNode, ...], Field(max_length=50)] = ()
    crash_loop: CrashLoopStatus = CrashLoopStatus()
    given_up: GivenUp | None = None
    """Absent while nothing speaks against a restart."""
    interruption: Interruption | None = None
    """What training has not recovered from yet."""
    recoveries: Annotated[tuple[Recovery, ...], Field(max_length=10)] = ()
    """The last 10, oldest first."""
    recovered: RecoveryTotals = RecoveryTotals()
    straggler: SlowRank | None = None
    """Absent while no rank is much slower than the others."""
    progress: JobProgress = JobProgress()
    checkpoint: CheckpointStatus = CheckpointStatus()
    start_time: Timestamp | None = None
    """When the job was first not suspended."""
    resumed_at: Timestamp | None = None
    """When the current stretch that is not suspended began; absent while suspended. startTimeout counts from here."""
    completion_time: Timestamp | None = None
    active_seconds: float = 0.0
    """Time on the deadline's clock before `resumedAt`: it stops while suspended."""
    template_hash: str = ""
    """Digest of the pod template that the current pods were made from."""
    operator: Annotated[str, Field(max_length=320)] = ""
    """The release that acts on the job, as `<namespace>/<name>` of its Lease. Another one keeps its hands off for as
    long as this one goes on writing here. Empty: none has acted yet."""
    updated_at: Timestamp | None = None
    """When the operator last wrote this status."""

    @field_serializer("pods")
    def _stored_pods(self, pods: tuple[KnownPod, ...]) -> tuple[KnownPod, ...]:
        return pack(pods) if len(pods) + len(self.counted_pods) > PLAIN_PODS else pods

    def condition(self, kind: str) -> JobCondition | None:
        """The condition of one type, or None."""
        return next((each for each in self.conditions if each.type == kind), None)

    def is_true(self, kind: str) -> bool:
        """Whether the condition of one type is there with status True."""
        found = self.condition(kind)
        return found is not None and found.status == "True"

    @property
    def done(self) -> bool:
        """Whether the job has Succeeded or Failed for good."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)
