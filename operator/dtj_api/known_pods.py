"""The worker pods that a job counts on, and their form in a large job's status: packed into one entry.

As entries of their own 1,000 pods are 80 KB, in an object that is written with every change and sent to all who watch.
Packed they are 27 KB: index, incarnation and uid of each are 20 bytes, in base64.

The packed entry has the fields of every other one, for the sake of the operator before and its CRD, which know nothing
of it. That CRD keeps it. That operator takes its index, which no worker has, for that of one which was scaled away: it
counts nothing for it, and takes up the pods that it finds. A form in which it could read each uid has 60 bytes a pod.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable

from .base import StatusModel

MAX_PODS = 10_001
"""Most pods of one job: its workers and its store."""
PLAIN_PODS = 400
"""Up to so many uids in a status each pod has an entry of its own, which the operator before reads too."""
PACKED = 1 << 20
"""Index of the packed entry."""
_RECORD = struct.Struct(">HH16s")
"""Index, incarnation after that of the packed entry, uid."""
TRAINED = 0
"""`incarnation` of a pod that has trained in one that is over."""
_LIMIT = 1 << 16
"""What a number in a record stays below."""
_UID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class KnownPod(StatusModel):
    """A worker pod that the job counts on. Its absence is an end that has to be counted."""

    index: int
    """1048576: `uid` holds the index, incarnation and uid of many pods, in base64."""
    uid: str
    incarnation: int = 0
    """The incarnation that it was created in, or the last that trained before it became a member, if it was made for
    none; 0 once one is over in which it trained; of many, the lowest."""


def pack(pods: tuple[KnownPod, ...]) -> tuple[KnownPod, ...]:
    """The form to store: those that can be packed are, all others are left as they are."""
    lowest = min((pod.incarnation for pod in pods), default=0)
    records: list[bytes] = []
    plain: list[KnownPod] = []
    for pod in pods:
        after = pod.incarnation - lowest
        if 0 <= pod.index < _LIMIT and after < _LIMIT and _UID.fullmatch(pod.uid):
            records.append(_RECORD.pack(pod.index, after, bytes.fromhex(pod.uid.replace("-", ""))))
        else:
            plain.append(pod)
    if not records:
        return pods
    text = base64.b64encode(b"".join(records)).decode()
    return (*plain, KnownPod(index=PACKED, uid=text, incarnation=lowest))


def unpack(pods: tuple[KnownPod, ...]) -> tuple[KnownPod, ...]:
    """What was stored, an entry for each pod, by index.

    Raises:
        ValueError: a packed entry is damaged, or holds more than `MAX_PODS`.
    """
    if all(pod.index != PACKED for pod in pods):
        return pods
    each = [one for pod in pods for one in (_unpacked(pod) if pod.index == PACKED else (pod,))]
    if len(each) > MAX_PODS:
        raise ValueError(f"{len(each)} pods are packed into an entry, and a job has at most {MAX_PODS}")
    return tuple(sorted(each, key=lambda pod: pod.index))


def _unpacked(entry: KnownPod) -> Iterable[KnownPod]:
    try:
        records = base64.b64decode(entry.uid, validate=True)
        for index, after, uid in _RECORD.iter_unpack(records):
            text = uid.hex()
            whole = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
            yield KnownPod(index=index, uid=whole, incarnation=entry.incarnation + after)
    except (ValueError, struct.error) as error:
        raise ValueError(f"the packed entry is damaged: {error}") from None
