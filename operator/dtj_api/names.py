"""Every label, environment variable, port, reason, condition and exit code, and the names of a job's objects.

One place for the words, beside `metrics`: docs, chart and alerts are tested against this file, so that a renamed reason
breaks a test and not a script. Standard library only (the launcher imports it inside foreign images).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

GROUP = "dtj.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "DistributedTrainingJob"
PLURAL = "distributedtrainingjobs"
SINGULAR = "distributedtrainingjob"
SHORT_NAME = "dtj"
OPERATOR = f"{GROUP}/operator"
"""The value of `spec.managedBy` that an operator answers to by default; of any other value it keeps its hands off."""

MAX_JOB_NAME = 48
"""`<job>-worker-NNNN` must stay a DNS label of at most 63 characters, with room for what users append."""

TRAINER_CONTAINER = "trainer"
MANAGED_BY = "dtj-operator"


class Label(StrEnum):
    """Labels on the children of a job. Children are matched by controller uid; labels only narrow the watch."""

    MANAGED_BY = "app.kubernetes.io/managed-by"
    JOB_NAME = f"{GROUP}/job-name"
    JOB_UID = f"{GROUP}/job-uid"
    COMPONENT = f"{GROUP}/component"
    INDEX = f"{GROUP}/index"
    INCARNATION = f"{GROUP}/incarnation"
    """The incarnation in which the pod was created; the launcher reports the one it is in now."""


class Component(StrEnum):
    """Values of the component label."""

    WORKER = "worker"
    STORE = "store"


class Env(StrEnum):
    """Environment of the trainer container. All are set by the operator and reserved: a template may not set them."""

    JOB_NAME = "DTJ_JOB_NAME"
    JOB_UID = "DTJ_JOB_UID"
    INDEX = "DTJ_INDEX"
    POD_NAME = "DTJ_POD_NAME"
    POD_UID = "DTJ_POD_UID"
    POD_IP = "DTJ_POD_IP"
    PROCESSES = "DTJ_PROCESSES"
    """Ranks of this pod: a number, or `auto` (the GPUs that the container sees, else 1)."""
    WORK_DIR = "DTJ_WORK_DIR"
    """The job's directory on the shared volume; empty when the job has no volume."""
    KEY_FILE = "DTJ_KEY_FILE"
    """File that holds the job's key, with which control messages are signed."""
    METRICS_PORT = "DTJ_METRICS_PORT"
    CONTROL_PORT = "DTJ_CONTROL_PORT"
    """Port of the control messages; unset: 9401. Several launchers on one machine need one each."""
    BIND_ADDRESS = "DTJ_BIND_ADDRESS"
    """Address that the launcher listens on; unset: all of the pod's."""
    TERMINATION_LOG = "DTJ_TERMINATION_LOG"
    """Where the first error is written for the kubelet; unset: /dev/termination-log."""
    SCRATCH_DIR = "DTJ_SCRATCH_DIR"
    """Where the launcher makes its folder for sockets and error files; unset: /dev/shm, which is no disk."""
    JOIN_TIMEOUT = "DTJ_JOIN_TIMEOUT"
    HEARTBEAT = "DTJ_HEARTBEAT"
    HEARTBEAT_MISSES = "DTJ_HEARTBEAT_MISSES"
    LAST_CALL = "DTJ_LAST_CALL"
    BACKOFF_INITIAL = "DTJ_BACKOFF_INITIAL"
    """Seconds before a round is begun anew when rounds end too soon; doubled each time. Unset: 1."""
    BACKOFF_MAX = "DTJ_BACKOFF_MAX"
    """Longest such pause in seconds; unset: 300."""
    STEP_TIMEOUT = "DTJ_STEP_TIMEOUT"
    """Seconds that a step may take before the ranks count as hung; `auto`: learned; `none`: as long as it likes."""
    GRACE_SECONDS = "DTJ_GRACE_SECONDS"
    """terminationGracePeriodSeconds of the pod: the time that SIGTERM leaves for a save."""
    SAVE_EVERY_STEPS = "DTJ_SAVE_EVERY_STEPS"
    SAVE_EVERY_SECONDS = "DTJ_SAVE_EVERY_SECONDS"
    SAVE_EVERY_AUTO = "DTJ_SAVE_EVERY_AUTO"
    MEMORY_EVERY_STEPS = "DTJ_MEMORY_EVERY_STEPS"
    MEMORY_DIR = "DTJ_MEMORY_DIR"
    SAVE_KEEP = "DTJ_SAVE_KEEP"
    SAVE_KEEP_EVERY = "DTJ_SAVE_KEEP_EVERY"
    SAVE_ON_FAILURE = "DTJ_SAVE_ON_FAILURE"
    """`spec.checkpoint.onFailure`: what a save that fails means to the training."""
    TRAINER_CONFIG = "DTJ_TRAINER_CONFIG"
    """`spec.trainer` as JSON, when the job uses the built-in trainer."""
    LAUNCHER_PRELOAD = "DTJ_LAUNCHER_PRELOAD"
    """`false`: each rank is an interpreter of its own, and no fork of one that has imported torch; unset: `true`."""
    MAX_RESTARTS = "DTJ_MAX_RESTARTS"
    """`0`: ranks that failed are not started again before the operator has had the time to end the job."""
    RANK_SOCKET = "DTJ_RANK_SOCKET"
    """Set by the launcher for its ranks: the Unix socket on which they report."""
    INCARNATION = "DTJ_INCARNATION"
    """Set by the launcher for its ranks: the incarnation that they belong to."""
    ROUND = "DTJ_ROUND"
    """Set by the launcher for its ranks: the round within the incarnation."""


PRELOAD_ENV = "DTJ_PRELOAD"
"""Modules, separated by commas, that the launcher imports beside torch before it forks ranks. Users may set it."""

RESERVED_ENV_TORCH = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE",
)
RESERVED_ENV = (*tuple(Env), *RESERVED_ENV_TORCH)
"""A manifest that sets one of these is refused: torchrun and the launcher own them."""

OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
"""What somebody gives a node that is not ready to say that nothing runs there any more."""

METRICS_PORT = 9400
CONTROL_PORT = 9401
STORE_PORT = 29400
OPERATOR_METRICS_PORT = 8080
OPERATOR_PROBE_PORT = 8081

MEMORY_DIR = "/dev/shm/dtj"
"""Where ranks keep checkpoints in memory: a memory volume of the pod, which outlives its containers."""
VOLUME_MOUNT = "/dtj/volume"
"""Where the shared volume is mounted in the trainer container."""
KEY_MOUNT = "/dtj/key"
KEY_FIELD = "key"
"""The field of the Secret `<job>-key` (32 random bytes, hex)."""
LAUNCHER_MOUNT = "/dtj/launcher"
"""Where an init container puts the launcher for a foreign image."""
LAUNCHER_START = "start.py"
"""The file there that starts a module of it."""


class Phase(StrEnum):
    """`status.phase`."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RECOVERING = "Recovering"
    RESIZING = "Resizing"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Condition(StrEnum):
    """Types in `status.conditions`. `kubectl wait --for=condition=Succeeded` works."""

    ADMITTED = "Admitted"
    READY = "Ready"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    VOLUME_NOT_SHARED = "VolumeNotShared"
    TEMPLATE_CHANGED = "TemplateChanged"
    GRACE_TOO_SHORT = "GraceTooShort"
    STRAGGLER = "Straggler"
    CHECKPOINT_DAMAGED = "CheckpointDamaged"
    CHECKPOINT_FAILING = "CheckpointFailing"


class Reason(StrEnum):
    """Reasons of conditions and events."""

    ADMITTED = "Admitted"
    DRY_RUN_REFUSED = "DryRunRefused"
    INVALID_SPEC = "InvalidSpec"
    STATUS_UNREADABLE = "StatusUnreadable"
    CREATING = "Creating"
    CREATED = "Created"
    WAITING_FOR_PODS = "WaitingForPods"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL = "ImagePull"
    CANNOT_START = "CannotStart"
    HELD_BY_FINALIZER = "HeldByFinalizer"
    UNREACHABLE = "Unreachable"
    NODES_UNREACHABLE = "NodesUnreachable"
    WAITING_FOR_STORE = "WaitingForStore"
    MEETING = "Meeting"
    FIRST_STEP_PENDING = "FirstStepPending"
    TRAINING = "Training"
    RECOVERED = "Recovered"
    ALL_READY = "AllReady"
    FEWER_WORKERS = "FewerWorkers"
    RANK_FAILED = "RankFailed"
    HUNG = "Hung"
    WORKER_LOST = "WorkerLost"
    STORE_LOST = "StoreLost"
    RESIZED = "Resized"
    NODE_EXCLUDED = "NodeExcluded"
    NEW_INCARNATION = "NewIncarnation"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    COMPLETED = "Completed"
    BUDGET_SPENT = "BudgetSpent"
    CRASH_LOOP = "CrashLoop"
    FAILURE_RULE = "FailureRule"
    USER_ERROR = "UserError"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    START_TIMEOUT = "StartTimeout"
    VOLUME_SHARED = "VolumeShared"
    VOLUME_NOT_SHARED = "VolumeNotShared"
    TEMPLATE_CHANGED = "TemplateChanged"
    TEMPLATE_UNCHANGED = "TemplateUnchanged"
    NAME_TAKEN = "NameTaken"
    CREATE_REFUSED = "CreateRefused"
    KEY_REFUSED = "KeyRefused"
    LOOKUP_FORBIDDEN = "LookupForbidden"
    OTHER_OPERATOR = "OtherOperator"
    GRACE_TOO_SHORT = "GraceTooShort"
    GRACE_ENOUGH = "GraceEnough"
    RUNS_AS_SUBPROCESS = "RunsAsSubprocess"
    SLOW_RANK = "SlowRank"
    EVEN_RANKS = "EvenRanks"
    CHECKPOINT_DAMAGED = "CheckpointDamaged"
    CHECKPOINT_WHOLE = "CheckpointWhole"
    CHECKPOINT_LATE = "CheckpointLate"
    CHECKPOINT_SAVED = "CheckpointSaved"
    NOT_SAVED = "NotSaved"
    VOLUME_READ_ONLY = "VolumeReadOnly"
    VOLUME_FULL = "VolumeFull"
    VOLUME_MISSING = "VolumeMissing"
    VOLUME_NOT_WRITABLE = "VolumeNotWritable"
    VOLUME_FAILED = "VolumeFailed"
    VOLUME_SLOW = "VolumeSlow"
    VOLUME_WRITABLE = "VolumeWritable"


class Cause(StrEnum):
    """Why ranks or pods were restarted: keys of `status.restarts.byCause`."""

    PROCESS_EXIT = "ProcessExit"
    PROCESS_SIGNAL = "ProcessSignal"
    HANG = "Hang"
    OUT_OF_MEMORY = "OutOfMemory"
    POD_FAILED = "PodFailed"
    POD_EVICTED = "PodEvicted"
    POD_DELETED = "PodDeleted"
    NODE_LOST = "NodeLost"
    STORE_LOST = "StoreLost"
    RESIZE = "Resize"
    DRAINED = "Drained"
    GONE = "Gone"
    VOLUME_FAILED = "VolumeFailed"


EXCUSED_CAUSES = frozenset(
    {
        Cause.POD_EVICTED,
        Cause.POD_DELETED,
        Cause.NODE_LOST,
        Cause.STORE_LOST,
        Cause.RESIZE,
        Cause.DRAINED,
        Cause.GONE,
        Cause.VOLUME_FAILED,
    }
)
"""Infrastructure causes: they never spend the user's budget."""


class RecoveryPhase(StrEnum):
    """The parts of a recovery, in their order."""

    DETECT = "detect"
    """Until the loss was noticed and the ranks that were left had ended."""
    POD = "pod"
    """Until all members stood ready and were told to meet; only where a pod or the store was lost."""
    RENDEZVOUS = "rendezvous"
    """Until the round had formed."""
    START = "start"
    """Until the ranks ran the script."""
    RESTORE = "restore"
    """Until the checkpoint was read, where the script says so."""
    FIRST_STEP = "firstStep"
    """Until the next step was made."""


RECOVERY_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds in seconds."""


class ExitCode(IntEnum):
    """Exit codes of the launcher (PID 1 of a worker pod)."""

    DONE = 0
    FAILED = 1
    BAD_CONFIG = 64
    """The environment or the command cannot be run at all; restarting does not help."""
    VOLUME_NOT_SHARED = 65
    DRAINED = 143
    """SIGTERM: saved and left. Not charged to the budget."""


def code_of_signal(signum: int) -> int:
    """The exit code that shells and container runtimes make of an end by a signal."""
    return 128 + signum


class LauncherState(StrEnum):
    """State that a launcher reports for its pod."""

    WAITING = "waiting"
    """Up; no `meet` has come yet."""
    MEETING = "meeting"
    STARTING = "starting"
    TRAINING = "training"
    """The round has formed and the ranks run."""
    DRAINING = "draining"
    DONE = "done"
    """All ranks of this pod exited 0."""
    FAILED = "failed"
    """This launcher cannot go on (bad command, join timeout); `error` says why."""


def claim_name(job: str) -> str:
    """Name of the claim made from `checkpoint.volume.template`."""
    return f"{job}-checkpoint"


def worker_name(job: str, index: int) -> str:
    """Name of the worker pod of one index: four digits, so that names sort as ranks do."""
    return f"{job}-worker-{index:04d}"


def store_name(job: str) -> str:
    """Name of the rendezvous store pod."""
    return f"{job}-store"


def service_name(job: str) -> str:
    """Name of the headless service, which is the subdomain of the pods."""
    return f"{job}-workers"


def policy_name(job: str) -> str:
    """Name of the NetworkPolicy."""
    return f"{job}-workers"


def key_name(job: str) -> str:
    """Name of the Secret with the job's key."""
    return f"{job}-key"
