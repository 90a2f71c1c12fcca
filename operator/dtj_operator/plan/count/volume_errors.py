"""What an error of the checkpoint volume means, and what somebody can do about it.

An errno is all that a file system says. It decides which word the condition has and which advice, so it is read here
alone, wherever it arose.
"""

from __future__ import annotations

import errno

from dtj_api.names import Reason

_REASONS = {
    errno.EROFS: Reason.VOLUME_READ_ONLY,
    errno.ENOSPC: Reason.VOLUME_FULL,
    errno.EDQUOT: Reason.VOLUME_FULL,
    errno.EACCES: Reason.VOLUME_NOT_WRITABLE,
    errno.EPERM: Reason.VOLUME_NOT_WRITABLE,
    errno.ENOENT: Reason.VOLUME_MISSING,
    errno.ENOTDIR: Reason.VOLUME_MISSING,
    errno.ENODEV: Reason.VOLUME_MISSING,
    errno.ENXIO: Reason.VOLUME_MISSING,
    errno.ENOTCONN: Reason.VOLUME_MISSING,
    errno.ESTALE: Reason.VOLUME_MISSING,
    errno.ETIMEDOUT: Reason.VOLUME_SLOW,
}
_ADVICE = {
    Reason.VOLUME_READ_ONLY: "allow writing where the claim is mounted: no readOnly, and an access mode that writes",
    Reason.VOLUME_FULL: "free space or inodes, enlarge the claim, or lower checkpoint.keep",
    Reason.VOLUME_MISSING: "see whether the volume is still attached and its server answers; a pod mounts it anew when "
    "it is deleted",
    Reason.VOLUME_NOT_WRITABLE: "let the user of the trainer container write there: fsGroup or runAsUser in the "
    "template, or the folder's owner",
    Reason.VOLUME_FAILED: "see the events of the claim and the log of the volume's server or disk",
    Reason.VOLUME_SLOW: "see whether the volume's server answers and what else loads it",
}


def reason_of(code: int | None) -> Reason:
    """The word for an errno; None: none is known."""
    return _REASONS.get(code or 0, Reason.VOLUME_FAILED)


def not_shared(pod: str) -> str:
    """What is said of a pod that sees another volume than its peers."""
    return (
        f"pod {pod} does not see on the volume what another worker wrote there; use a claim that all nodes mount with "
        "ReadWriteMany"
    )


def advice(reason: Reason) -> str:
    """What somebody can do about it."""
    return _ADVICE[reason]
