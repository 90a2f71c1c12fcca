"""What no watch tells: the job's key, its claim, and names that somebody else holds.

Secrets are read by name only (the operator may not list them) and claims may be anybody's, so both are asked for one
by one. A name that was taken is asked for again now and then, since its holder may go.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dtj_api import names
from dtj_api.status import JobStatus
from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.kube.resources import CLAIMS, SECRETS, Resource
from dtj_operator.observe.indexer import controller_of
from dtj_operator.observe.records import JobRecord, digest
from dtj_operator.observe.view import DryRun

FRESH_SECONDS = 300.0
"""How long an object that was seen is believed to be there."""
FRESH_WHILE_WAITED_FOR = 15.0
"""The same of the key while pods wait to start, which they do not without it."""
RIGHTED_SECONDS = 60.0
"""Least time between two objects that are made for a job because somebody edited the one before."""
TAKEN_SECONDS = 10.0
"""How long a taken name is believed to be taken."""


@dataclass(frozen=True)
class Made:
    """Digests of an object's spec as it was sent and as the server stored it, and when that was (monotonic)."""

    sent: str
    stored: str
    at: float


@dataclass
class Facts:
    """What is known of one job beyond the watches. All of it can be found out again."""

    key: bytes | None = None
    """The job's key as the Secret holds it."""
    known_key: bytes | None = None
    """The key as it was last seen: launchers read it once, so a Secret that was deleted is made again with it."""
    refusing: set[str] = field(default_factory=set)
    """Uids of the pods whose launchers last refused a message that was signed with the key of now."""
    seen: dict[str, float] = field(default_factory=dict)
    """`<plural>/<name>` of an object that is there, to when that was last seen (monotonic)."""
    taken: dict[tuple[Resource, str], float] = field(default_factory=dict)
    """Resource and name that somebody else's object has, to when that was last seen (monotonic)."""
    refused: dict[str, str] = field(default_factory=dict)
    """`<Kind>/<name>` of an object that the server did not let us make, to its words."""
    unread: dict[str, str] = field(default_factory=dict)
    """`<Kind>/<name>` of an object that we may not look at, to the server's words."""
    dry_run: DryRun | None = None
    made: dict[Resource, Made] = field(default_factory=dict)
    """The service and the NetworkPolicy that this process made last."""
    pruned: tuple[JobStatus, JobStatus] | None = None
    """What the server made of the last status, of which it dropped fields, and that status as it was sent."""

    def status_of(self, job: JobRecord) -> JobStatus:
        """The job's status with what an older CRD drops: this process remembers what it wrote there."""
        return self.pruned[1] if self.pruned and self.pruned[0] == job.status else job.status


@contextmanager
def _heeding(facts: Facts, resource: Resource, name: str) -> Iterator[None]:
    """Note whether we may look at an object."""
    what = f"{resource.kind}/{name}"
    try:
        yield
    except errors.Forbidden as error:
        facts.unread[what] = error.message
    else:
        facts.unread.pop(what, None)


class Lookups:
    """Facts by the uid of the job."""

    def __init__(self, client: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._facts: dict[str, Facts] = {}

    def of(self, uid: str) -> Facts:
        """What is known of one job; of one that is gone nothing, whoever still asks."""
        return self._facts.get(uid) or Facts()

    def forget(self, uid: str) -> None:
        """The job is gone."""
        self._facts.pop(uid, None)

    async def refresh(self, job: JobRecord, claim: str | None, *, pods_wait: bool = False) -> Facts:
        """Ask for what is not known or not believed any more.

        A job that is not admitted has no key: creating it tells soon enough if it does, which saves a call in every
        start. A key that was deleted while the job was suspended is another one after it.

        Args:
            job: whose.
            claim: name of the claim that it needs.
            pods_wait: some of its pods take long to start.

        An object that we may not look at stays as it was known: that is one thing more to say of the job, and no
        reason to say nothing.

        Raises:
            KubeError: no answer.
        """
        facts = self._facts.setdefault(job.uid, Facts())
        if not job.status.template_hash:
            facts.key = facts.known_key = None
        elif not self._believed(
            facts, SECRETS, names.key_name(job.name), FRESH_WHILE_WAITED_FOR if pods_wait else FRESH_SECONDS
        ):
            facts.seen.pop(f"{SECRETS.plural}/{names.key_name(job.name)}", None)
            with _heeding(facts, SECRETS, names.key_name(job.name)):
                await self.key(job)
        if claim and not self._believed(facts, CLAIMS, claim):
            with _heeding(facts, CLAIMS, claim):
                await self._look(facts, CLAIMS, job.namespace, claim)
        for resource, name in [each for each, at in facts.taken.items() if self._clock() - at >= TAKEN_SECONDS]:
            with _heeding(facts, resource, name):
                item = await self._look(facts, resource, job.namespace, name)
                if item is None or controller_of(item) == job.uid:
                    del facts.taken[resource, name]
                else:
                    facts.taken[resource, name] = self._clock()
        return facts

    async def key(self, job: JobRecord) -> bytes | None:
        """The job's key, or None when there is none that the job controls."""
        facts = self.of(job.uid)
        name = names.key_name(job.name)
        if facts.key is not None and self._believed(facts, SECRETS, name):
            return facts.key
        item = await self._look(facts, SECRETS, job.namespace, name)
        if item is None:
            facts.key = None
        elif controller_of(item) != job.uid:
            facts.key = None
            self.note_taken(job.uid, SECRETS, name)
        else:
            self.note_key(job.uid, item)
        return facts.key

    def note_key(self, uid: str, secret: Object) -> None:
        """The job's Secret was read or made."""
        facts = self.of(uid)
        facts.key = base64.b64decode((secret.get("data") or {}).get(names.KEY_FIELD) or "").strip()
        facts.known_key = facts.key or facts.known_key
        self.note_seen(uid, SECRETS, secret["metadata"]["name"])

    async def key_anew(self, job: JobRecord) -> bytes | None:
        """The job's key as the server has it now, whatever is believed."""
        self.of(job.uid).seen.pop(f"{SECRETS.plural}/{names.key_name(job.name)}", None)
        return await self.key(job)

    def note_seen(self, uid: str, resource: Resource, name: str) -> None:
        """An object that the job needs is there and may be used."""
        facts = self.of(uid)
        facts.seen[f"{resource.plural}/{name}"] = self._clock()
        facts.taken.pop((resource, name), None)

    def note_made(self, uid: str, resource: Resource, sent: Object, stored: Object) -> None:
        """An object that somebody may edit was made."""
        self.of(uid).made[resource] = Made(digest(resource, sent), digest(resource, stored), self._clock())

    def altered(self, uid: str, resource: Resource, wanted: Object, there: str) -> bool:
        """Whether an object with this digest is not what was made, nor what the server made of it.

        One that somebody edits again and again is put right once in a while.
        """
        made, sent = self.of(uid).made.get(resource), digest(resource, wanted)
        if there == sent or (made is not None and (made.sent, made.stored) == (sent, there)):
            return False
        return made is None or self._clock() - made.at >= RIGHTED_SECONDS

    def note_taken(self, uid: str, resource: Resource, name: str) -> None:
        """A name that the job needs belongs to somebody else's object."""
        facts = self.of(uid)
        facts.seen.pop(f"{resource.plural}/{name}", None)
        facts.taken[resource, name] = self._clock()

    def has(self, uid: str, resource: Resource, name: str) -> bool:
        """Whether an object was seen lately and is not somebody else's."""
        facts = self.of(uid)
        return (resource, name) not in facts.taken and self._believed(facts, resource, name)

    def _believed(self, facts: Facts, resource: Resource, name: str, seconds: float = FRESH_SECONDS) -> bool:
        at = facts.seen.get(f"{resource.plural}/{name}")
        return at is not None and self._clock() - at < seconds

    async def _look(self, facts: Facts, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            item = await self._client.get(resource, namespace, name)
        except errors.NotFound:
            facts.seen.pop(f"{resource.plural}/{name}", None)
            return None
        facts.seen[f"{resource.plural}/{name}"] = self._clock()
        return item
