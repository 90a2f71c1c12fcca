"""What a plan can ask for: small values, each with all that its execution needs and nothing else.

Every action is idempotent: a create that finds the object there, controlled by the job's uid, has succeeded; a delete
carries the uid it is meant for; a message of the past is refused by the launcher. So the same plan twice does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dtj_api.wire import Meet, Release, Save, Stop


@dataclass(frozen=True)
class _CreateChild:
    what: ClassVar[str]

    name: str

    def __str__(self) -> str:
        return f"create {self.what} {self.name}"


class CreateClaim(_CreateChild):
    """Create the volume claim from `checkpoint.volume.template`; it outlives the job."""

    what = "claim"


class CreateKey(_CreateChild):
    """Create the Secret with 32 fresh random bytes."""

    what = "secret"


class CreateService(_CreateChild):
    """Create the headless service."""

    what = "service"


class CreatePolicy(_CreateChild):
    """Create the NetworkPolicy."""

    what = "network policy"


@dataclass(frozen=True)
class DryRunWorker:
    """Ask the API server whether it would take a worker pod; the answer is `JobView.dry_run` of the next view."""

    template_hash: str

    def __str__(self) -> str:
        return f"dry run of a worker from template {self.template_hash}"


@dataclass(frozen=True)
class CreateStore:
    """Create the pod of the rendezvous store."""

    name: str
    incarnation: int
    avoid: tuple[str, ...] = ()
    """Nodes that it should not run on where others have room."""

    def __str__(self) -> str:
        return f"create store pod {self.name} in incarnation {self.incarnation}"


@dataclass(frozen=True)
class CreateWorker:
    """Create the worker pod of one index."""

    name: str
    index: int
    incarnation: int
    avoid: tuple[str, ...] = ()
    """Nodes that it should not run on where others have room."""

    def __str__(self) -> str:
        return f"create worker pod {self.name} in incarnation {self.incarnation}"


@dataclass(frozen=True)
class DeletePod:
    """Delete a pod, with a precondition on its uid; "not found" and "another uid" are success."""

    name: str
    uid: str
    why: str
    grace: int | None = None
    """Seconds; None: the pod's own grace period; 0: by force, for a pod that cannot answer."""
    with_node: bool = False
    """It is given up since its node is."""

    def __str__(self) -> str:
        how = {None: "", 0: " by force"}.get(self.grace, f" with {self.grace} s of grace")
        return f"delete pod {self.name} ({self.uid}){how}: {self.why}"


@dataclass(frozen=True)
class _DeleteChild:
    what: ClassVar[str]

    name: str
    uid: str
    why: str

    def __str__(self) -> str:
        return f"delete {self.what} {self.name} ({self.uid}): {self.why}"


class DeleteService(_DeleteChild):
    """Delete the job's own service, with a precondition on its uid: "not found" and "another uid" are success."""

    what = "service"


class DeletePolicy(_DeleteChild):
    """Delete the job's own NetworkPolicy, likewise."""

    what = "network policy"


@dataclass(frozen=True)
class _Send:
    pod: str
    uid: str
    ip: str

    def __str__(self) -> str:
        return f"send {self.pod}: {getattr(self, 'message', '')}"


@dataclass(frozen=True)
class SendMeet(_Send):
    """POST /v1/meet to a worker."""

    message: Meet


@dataclass(frozen=True)
class SendSave(_Send):
    """POST /v1/save to a worker."""

    message: Save


@dataclass(frozen=True)
class SendRelease(_Send):
    """POST /v1/release to a worker."""

    message: Release


@dataclass(frozen=True)
class SendStop(_Send):
    """POST /v1/stop to a worker."""

    message: Stop


@dataclass(frozen=True)
class DeleteJob:
    """Delete the job itself (`lifecycle.ttlAfterFinished`), with a precondition on its uid."""

    uid: str

    def __str__(self) -> str:
        return f"delete the job ({self.uid}): its time to live after the end is over"


Create = CreateClaim | CreateKey | CreateService | CreatePolicy | CreateStore | CreateWorker
Send = SendMeet | SendSave | SendRelease | SendStop
Call = Create | DryRunWorker | DeletePod | DeleteService | DeletePolicy | DeleteJob
"""What the API server is asked for; the rest is said to launchers."""
Action = Call | Send


@dataclass(frozen=True)
class Event:
    """A Kubernetes event about the job."""

    type: str
    """`Normal` or `Warning`."""
    reason: str
    """A `names.Reason`."""
    message: str

    def __str__(self) -> str:
        return f"{self.type} {self.reason}: {self.message}"
