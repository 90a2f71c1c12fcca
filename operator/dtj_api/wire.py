"""The messages between operator and launcher, and their signature.

The operator POSTs a control message to port 9401 of a worker pod; the launcher answers with its `Report`, the same
JSON that `GET /progress` on port 9400 serves unsigned. Each message is idempotent and monotonic by construction, so a
replayed one does nothing: `meet` of a lower incarnation is refused and its `rounds` never fall, `release` names the
round that it ends, `save` carries an id, `stop` is final. The signature covers method, path, the target pod's uid and
the body.
Standard library only: the launcher runs in foreign images.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Annotated

from . import bounds
from .decoding import Most, Within
from .decoding import WireError as WireError
from .decoding import decode as decode
from .names import Cause

SIGNATURE_HEADER = "X-DTJ-Signature"
POD_HEADER = "X-DTJ-Pod"
MAX_BODY = bounds.REPORT_BYTES
NO_RANK = -1
STORE_PROTOCOL = 1
"""Of the rendezvous store and its clients, see `dtj_trainer.launch.store.wire`."""
OTHER_KEY = b"the signature is not that of this job's key for this pod"
"""A launcher's answer, with status 403, to a message that was signed with another key than the one it holds."""

Moment = Annotated[float, Within(0.0, bounds.LATEST)]
"""Seconds since the epoch."""
Seconds = Annotated[float, Within(0.0, bounds.LONGEST)]
"""That something takes."""
Count = Annotated[int, Within(0, bounds.COUNT)]
"""Of steps, rounds or ranks: what is made of several is a number that a status can hold."""
Rank = Annotated[int, Within(NO_RANK, bounds.COUNT)]
Code = Annotated[int, Within(-bounds.INT32 - 1, bounds.INT32)]
"""Of an exit or an error."""
DamagedText = Annotated[str, Most(bounds.DAMAGED_TEXT)]


@dataclass(frozen=True, slots=True)
class Meet:
    """Leave whatever runs and meet the others under `incarnation`. Path: /v1/meet."""

    incarnation: int
    min_nodes: int
    max_nodes: int
    store: str
    """`<ip>:<port>` of the rendezvous store."""
    rounds: int | None = None
    """The highest round of this incarnation whose ranks may start; said again, higher, for each that may. A launcher
    takes it with the same terms. None: this sender lets each start, or is of a version that does not know."""


@dataclass(frozen=True, slots=True)
class Save:
    """Save at the next agreed step. Path: /v1/save."""

    incarnation: int
    id: str
    """The same id twice is one save."""


@dataclass(frozen=True, slots=True)
class Release:
    """End the ranks of one round at once: they are blocked in a collective with a dead peer. Path: /v1/release."""

    incarnation: int
    round: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Save if the job can, then leave for good. Path: /v1/stop."""

    incarnation: int
    save: bool


def address(ip: str, port: int) -> str:
    """`<ip>:<port>` as it stands in a URL: an address of version 6 has brackets."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


Message = Meet | Save | Release | Stop
PATHS: dict[str, type[Meet] | type[Save] | type[Release] | type[Stop]] = {
    "/v1/meet": Meet,
    "/v1/save": Save,
    "/v1/release": Release,
    "/v1/stop": Stop,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """The first error of a round, as this pod saw it."""

    incarnation: Count
    round: Count
    """The round that ended by it."""
    rank: Rank
    """Global rank, or NO_RANK: of a hang nobody may know whose fault it is."""
    local_rank: Rank
    at: Moment
    exit_code: Code
    """Exit code of the rank; negative: the signal that ended it."""
    message: str
    """Type and text of the error when the rank could say it, else empty."""
    log_tail: str
    """The last lines of the rank's output, at most 20 lines and 2 KiB."""
    user_error: bool
    """An exception of the user's code: never a signal, OSError, connection, c10d or CUDA device error."""
    step: Count | None = None
    """The last step that a rank of this pod reported in the round."""
    hang: bool = False
    """The ranks made no step for too long and were ended; `message` says for how long, and where their stacks are."""
    pod: str = ""
    """Name of the rank's pod, where the one that tells may be another."""
    pod_uid: str = ""
    """Its uid."""
    of_volume: bool = False
    """The volume failed under a save or under the choice of what to restore; the code did nothing wrong."""

    if_repeated: str = ""
    """An exit code, or memory that ran out, before any step: the user's error if the next failure is the same. Empty:
    it is none of these, or the world may be to blame."""

    def users_error(self, step: int | None) -> str:
        """What tells the user's error from others, where it is one or would be if it came again; else empty.

        Args:
            step: the last one before it; None: nobody has made one, as far as is known.
        """
        if self.user_error:
            return self.message
        return self.if_repeated if step is None else ""

    @property
    def cause(self) -> Cause:
        """Why the ranks are restarted after it."""
        if self.hang:
            return Cause.HANG
        if self.of_volume:
            return Cause.VOLUME_FAILED
        return Cause.PROCESS_SIGNAL if self.exit_code < 0 else Cause.PROCESS_EXIT


@dataclass(frozen=True, slots=True)
class Progress:
    """What the ranks of this pod report of the training. Steps are optimizer steps; None: not reported."""

    step: Count | None = None
    total_steps: Count | None = None
    epoch: float | None = None
    loss: float | None = None
    tokens: float = 0.0
    """Tokens trained on by all ranks since the job began, as far as the checkpoint carried them."""
    samples: float = 0.0
    tokens_per_second: float | None = None
    samples_per_second: float | None = None
    updated_at: Moment | None = None
    checkpoint_step: Count | None = None
    checkpoint_at: Moment | None = None
    checkpoint_seconds: Seconds | None = None
    save_interval: Seconds | None = None
    """Seconds between two saves, where the ranks find them by themselves."""
    phase: str = ""
    """restore, train, evaluate, checkpoint or export; empty when the script does not say."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How the present round of a pod came to be: seconds since the epoch on the pod's own clock; None: not yet."""

    left_at: Moment | None = None
    """The ranks of the round before were gone from this pod; None for the first round of this launcher."""
    formed_at: Moment | None = None
    started_at: Moment | None = None
    """The ranks were forked."""
    spoke_at: Moment | None = None
    """A rank said its first word through `dtj`."""
    restored_at: Moment | None = None
    """The last rank that said that it restores was through with it."""
    first_step_at: Moment | None = None
    """A rank reported its first step."""
    step_before: Count | None = None
    """The last step that a rank of this pod reported in an earlier round."""
    restored_step: Count | None = None
    """The step of the checkpoint that training went on from, else the one before the first step reported."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a rank itself takes for a step."""

    rank: Count
    """Global rank."""
    seconds: Seconds
    """Median over the last minute, without the wait for other ranks."""


@dataclass(frozen=True, slots=True)
class VolumeTry:
    """What became of a small file that a launcher wrote to the volume, read back and removed."""

    at: Moment | None = None
    """When that began, by the pod's clock; None: never, as where the job has no volume."""
    seconds: Seconds | None = None
    """That it took; None: it has not ended."""
    errno: Code | None = None
    """Why it failed; None: it did not. 0: for no reason that has a number."""
    text: str = ""
    """That in words, with the path."""
    waits_since: Moment | None = None
    """When one began that has not ended yet."""


@dataclass(frozen=True, slots=True)
class LostSaves:
    """The saves that failed since the last one that was published, as the ranks of a pod told of them."""

    count: Count = 0
    step: Count | None = None
    """Of the last one."""
    at: Moment | None = None
    """When the last one failed, by the pod's clock."""
    errno: Code | None = None
    text: str = ""
    """Why the last one failed."""


@dataclass(frozen=True, slots=True)
class Report:
    """The state of one launcher, complete: the operator needs no history to act on it."""

    pod_uid: str
    index: Count
    state: str
    """A `LauncherState`."""
    incarnation: Count
    """The incarnation that this launcher is in; 0 before the first `meet`."""
    round: Count
    """Rounds formed in this incarnation: 0 before the first one forms, then 1, 2, ... Equal on all pods of a round."""
    world_size: Count
    """Ranks of the round, over all pods; 0 before the first round."""
    group_rank: Rank
    """Rank of this pod in the round; 0 is the pod whose progress is the job's. -1 before the first round."""
    failures: Annotated[tuple[Failure, ...], Most(bounds.REPORT_FAILURES)] = ()
    """The failures of the last rounds that this pod saw, oldest first; of old ones perhaps without their texts."""
    progress: Progress = field(default_factory=Progress)
    last_save: str = ""
    """Id of the last `save` that was published."""
    volume_shared: bool | None = None
    """None: not checked yet, or the job has no volume."""
    error: str = ""
    """Why the launcher is in state failed; in state meeting: why it takes part in nothing until the next `meet`."""
    run_as: str = ""
    """`fork` or `subprocess`: how the command runs."""
    reports: bool = False
    """A rank has reported through `dtj` since the launcher began."""
    clock: Clock = field(default_factory=Clock)
    paces: Annotated[tuple[Pace, ...], Most(bounds.REPORT_PACES)] = ()
    """Of those ranks of this pod that have told enough in this round."""
    damaged: Annotated[tuple[DamagedText, ...], Most(bounds.REPORT_DAMAGED)] = ()
    """The last checkpoints that this pod found damaged, as `<name>: <what is wrong>`, oldest first."""
    volume: VolumeTry = field(default_factory=VolumeTry)
    lost_saves: LostSaves = field(default_factory=LostSaves)
    held: Count = 0
    """Pods of its round, where its ranks start only when a `meet` lets them; 0: they wait for no word."""
    store_protocol: Count = 0
    """The `STORE_PROTOCOL` that it speaks; 0: that of torch, as the first version did."""


def encode(message: object) -> bytes:
    """A message or a report as JSON, keys sorted."""
    if not is_dataclass(message) or isinstance(message, type):
        raise WireError(f"{message!r} is not a message")
    return json.dumps(asdict(message), sort_keys=True, separators=(",", ":")).encode()


def sign(key: bytes, path: str, pod_uid: str, body: bytes) -> str:
    """HMAC-SHA256, hex, of what a control request says and to whom."""
    text = b"\n".join((b"POST", path.encode(), pod_uid.encode(), body))
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def verify(key: bytes, path: str, pod_uid: str, body: bytes, signature: str) -> bool:
    """Whether the signature is ours, compared in constant time."""
    return hmac.compare_digest(sign(key, path, pod_uid, body), signature)
