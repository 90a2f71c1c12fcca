"""The messages between operator and launcher, and their signature.

The operator POSTs a control message to port 9401 of a worker pod; the launcher answers with its `Report`, the same
JSON that `GET /progress` on port 9400 serves unsigned. Each message is idempotent and monotonic by construction, so a
replayed one does nothing: `meet` of a lower incarnation is refused, `release` names the round that it ends, `save`
carries an id, `stop` is final. The signature covers method, path, the target pod's uid and the body.
Standard library only: the launcher runs in foreign images.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

SIGNATURE_HEADER = "X-DTJ-Signature"
POD_HEADER = "X-DTJ-Pod"
MAX_BODY = 64 * 1024
NO_RANK = -1
OTHER_KEY = b"the signature is not that of this job's key for this pod"
"""A launcher's answer, with status 403, to a message that was signed with another key than the one it holds."""

T = TypeVar("T")


class WireError(ValueError):
    """A message that cannot be read; the text names the field, what was found and what is expected."""


@dataclass(frozen=True)
class Meet:
    """Leave whatever runs and meet the others under `incarnation`. Path: /v1/meet."""

    incarnation: int
    min_nodes: int
    max_nodes: int
    store: str
    """`<ip>:<port>` of the rendezvous store."""


@dataclass(frozen=True)
class Save:
    """Save at the next agreed step. Path: /v1/save."""

    incarnation: int
    id: str
    """The same id twice is one save."""


@dataclass(frozen=True)
class Release:
    """End the ranks of one round at once: they are blocked in a collective with a dead peer. Path: /v1/release."""

    incarnation: int
    round: int


@dataclass(frozen=True)
class Stop:
    """Save if the job can, then leave for good. Path: /v1/stop."""

    incarnation: int
    save: bool


Message = Meet | Save | Release | Stop
PATHS: dict[str, type[Meet] | type[Save] | type[Release] | type[Stop]] = {
    "/v1/meet": Meet,
    "/v1/save": Save,
    "/v1/release": Release,
    "/v1/stop": Stop,
}


@dataclass(frozen=True)
class Failure:
    """The first error of a round, as this pod saw it."""

    incarnation: int
    round: int
    """The round that ended by it."""
    rank: int
    """Global rank, or NO_RANK: of a hang nobody may know whose fault it is."""
    local_rank: int
    at: float
    """Seconds since the epoch."""
    exit_code: int
    """Exit code of the rank; negative: the signal that ended it."""
    message: str
    """Type and text of the error when the rank could say it, else empty."""
    log_tail: str
    """The last lines of the rank's output, at most 20 lines and 2 KiB."""
    user_error: bool
    """An exception of the user's code: never a signal, OSError, connection, c10d or CUDA device error."""
    step: int | None = None
    """The last step that a rank of this pod reported in the round."""
    hang: bool = False
    """The ranks made no step for too long and were ended; `message` says for how long, and where their stacks are."""
    pod: str = ""
    """Name of the rank's pod, where the one that tells may be another."""
    pod_uid: str = ""
    """Its uid."""
    of_volume: bool = False
    """The volume failed under a save or under the choice of what to restore; the code did nothing wrong."""


@dataclass(frozen=True)
class Progress:
    """What the ranks of this pod report of the training. Steps are optimizer steps; None: not reported."""

    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    tokens: float = 0.0
    """Tokens trained on by all ranks since the job began, as far as the checkpoint carried them."""
    samples: float = 0.0
    tokens_per_second: float | None = None
    samples_per_second: float | None = None
    updated_at: float | None = None
    checkpoint_step: int | None = None
    checkpoint_at: float | None = None
    checkpoint_seconds: float | None = None
    save_interval: float | None = None
    """Seconds between two saves, where the ranks find them by themselves."""
    phase: str = ""
    """restore, train, evaluate, checkpoint or export; empty when the script does not say."""


@dataclass(frozen=True)
class Clock:
    """How the present round of a pod came to be: seconds since the epoch on the pod's own clock; None: not yet."""

    left_at: float | None = None
    """The ranks of the round before were gone from this pod; None for the first round of this launcher."""
    formed_at: float | None = None
    started_at: float | None = None
    """The ranks were forked."""
    spoke_at: float | None = None
    """A rank said its first word through `dtj`."""
    restored_at: float | None = None
    """The last rank that said that it restores was through with it."""
    first_step_at: float | None = None
    """A rank reported its first step."""
    step_before: int | None = None
    """The last step that a rank of this pod reported in an earlier round."""
    restored_step: int | None = None
    """The step of the checkpoint that training went on from, else the one before the first step reported."""


@dataclass(frozen=True)
class Pace:
    """What a rank itself takes for a step."""

    rank: int
    """Global rank."""
    seconds: float
    """Median over the last minute, without the wait for other ranks."""


@dataclass(frozen=True)
class VolumeTry:
    """What became of a small file that a launcher wrote to the volume, read back and removed."""

    at: float | None = None
    """When that began, by the pod's clock; None: never, as where the job has no volume."""
    seconds: float | None = None
    """That it took; None: it has not ended."""
    errno: int | None = None
    """Why it failed; None: it did not. 0: for no reason that has a number."""
    text: str = ""
    """That in words, with the path."""
    waits_since: float | None = None
    """When one began that has not ended yet."""


@dataclass(frozen=True)
class LostSaves:
    """The saves that failed since the last one that was published, as the ranks of a pod told of them."""

    count: int = 0
    step: int | None = None
    """Of the last one."""
    at: float | None = None
    """When the last one failed, by the pod's clock."""
    errno: int | None = None
    text: str = ""
    """Why the last one failed."""


@dataclass(frozen=True)
class Report:
    """The state of one launcher, complete: the operator needs no history to act on it."""

    pod_uid: str
    index: int
    state: str
    """A `LauncherState`."""
    incarnation: int
    """The incarnation that this launcher is in; 0 before the first `meet`."""
    round: int
    """Rounds formed in this incarnation: 0 before the first one forms, then 1, 2, ... Equal on all pods of a round."""
    world_size: int
    """Ranks of the round, over all pods; 0 before the first round."""
    group_rank: int
    """Rank of this pod in the round; 0 is the pod whose progress is the job's. -1 before the first round."""
    failures: tuple[Failure, ...] = ()
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
    paces: tuple[Pace, ...] = ()
    """Of those ranks of this pod that have told enough in this round."""
    damaged: tuple[str, ...] = ()
    """The last checkpoints that this pod found damaged, as `<name>: <what is wrong>`, oldest first."""
    volume: VolumeTry = field(default_factory=VolumeTry)
    lost_saves: LostSaves = field(default_factory=LostSaves)


def encode(message: object) -> bytes:
    """A message or a report as JSON, keys sorted."""
    if not is_dataclass(message) or isinstance(message, type):
        raise WireError(f"{message!r} is not a message")
    return json.dumps(asdict(message), sort_keys=True, separators=(",", ":")).encode()


def decode(kind: type[T], body: bytes) -> T:
    """Read one message of a known kind.

    Unknown fields are ignored and fields with a default may be absent, so that launcher and operator of neighbouring
    versions understand each other.

    Raises:
        WireError: not JSON, not an object, a field missing or of another type.
    """
    try:
        raw = json.loads(body)
    except ValueError as error:
        raise WireError(f"{kind.__name__}: not JSON: {error}") from None
    message: T = _build(kind, raw, kind.__name__)
    return message


def _build(kind: Any, raw: Any, where: str) -> Any:
    if is_dataclass(kind):
        if not isinstance(raw, dict):
            raise WireError(f"{where}: found {type(raw).__name__}, expected an object")
        hints = get_type_hints(kind)
        known = {f.name: _build(hints[f.name], raw[f.name], f"{where}.{f.name}") for f in fields(kind) if f.name in raw}
        try:
            return kind(**known)  # type: ignore[operator]
        except TypeError as error:
            raise WireError(f"{where}: {error}") from None
    if get_origin(kind) is tuple:
        if not isinstance(raw, list):
            raise WireError(f"{where}: found {type(raw).__name__}, expected a list")
        return tuple(_build(get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(raw))
    allowed = get_args(kind) or (kind,)
    if float in allowed and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, bool) and bool not in allowed:
        raise WireError(f"{where}: found a boolean, expected {kind}")
    if not isinstance(raw, allowed):
        raise WireError(f"{where}: found {type(raw).__name__}, expected {getattr(kind, '__name__', kind)}")
    return raw


def sign(key: bytes, path: str, pod_uid: str, body: bytes) -> str:
    """HMAC-SHA256, hex, of what a control request says and to whom."""
    text = b"\n".join((b"POST", path.encode(), pod_uid.encode(), body))
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def verify(key: bytes, path: str, pod_uid: str, body: bytes, signature: str) -> bool:
    """Whether the signature is ours, compared in constant time."""
    return hmac.compare_digest(sign(key, path, pod_uid, body), signature)
