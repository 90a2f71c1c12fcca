"""The rendezvous of one incarnation: who takes part in each round, without a leader and without one-second polls.

torch's own c10d handler keeps one pickled state that every node rewrites, and looks at it once a second. Here a round
is a few keys that are each written once: members add themselves, and whoever first sees that the round is complete
writes the list, which then stands for all. Opening the next round is one key as well; who opens it writes why, so that
of all failures in a round only the first one counts, and everybody else ends its ranks as soon as the key is there.

    round/<r>/opened      why: JSON of a Failure, or empty
    round/<r>/joined      how many have asked to join; member/<slot> is what they said, until the round has formed
    round/<r>/formed      the members, sorted by pod name: the group rank is the place in this list
    round/<r>/done        how many members' ranks have all exited 0; through/<place> is there for each of them
    forgotten             the last round of which nothing but `opened` is left, and no reason in it
    beat/<node>           a counter that each member raises; its neighbour watches it
    closed                the job is done
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo
from torch.distributed.elastic.rendezvous.api import RendezvousClosedError, RendezvousTimeoutError

from dtj_api.ports import keep_port
from dtj_trainer.launch.meeting.heartbeats import Heartbeats
from dtj_trainer.launch.meeting.round import Member, Round, Terms
from dtj_trainer.launch.store.link import StoreLink, StoreLostError

TICK = 0.03
"""Seconds between two looks at the store, where few look; a thousand look less often."""
REACH_PATIENCE = 15.0
"""Seconds to connect to the store, which was ready when the meeting was called: then it is told as lost."""
_LOOKS_PER_SECOND = 4000
KEPT_ROUNDS = 3
"""Rounds behind the newest one of which all is kept: a launcher may be about the end of one still."""
_OF_A_ROUND = ("formed", "member/", "joined", "volume/", "through/", "done", "silent/", "asked", "phases")
"""What is said of a round and is of no use after it. That it is over stays, for whoever comes late, without the why."""


class Meeting(RendezvousHandler):
    """One launcher's part in the rounds of one incarnation. For one thread.

    Args:
        terms: of this incarnation.
        connect: makes the link to the store; called until it succeeds, for REACH_PATIENCE.
        me: this pod; port and `checked` are filled in for each round.
        pause: waits so many seconds, or raises when the launcher is wanted elsewhere.
    """

    def __init__(
        self, terms: Terms, connect: Callable[[], StoreLink], me: Member, pause: Callable[[float], None]
    ) -> None:
        self._terms = terms
        self._connect = connect
        self._me = me
        self._pause = pause
        self._link: StoreLink | None = None
        self.tick = max(TICK, terms.max_nodes / _LOOKS_PER_SECOND)
        self.checked = False
        self.round: Round | None = None
        self._beats = Heartbeats(terms)
        self._held: socket.socket | None = None
        self._over = threading.Event()

    @property
    def link(self) -> StoreLink:
        """The connection to the store, made when first wanted."""
        if self._link is None:
            self._link = self._connect()
        return self._link

    def get_backend(self) -> str:
        """See base class."""
        return "dtj"

    @property
    def use_agent_store(self) -> bool:
        """Never: keys that an earlier round left would be read by the next one (pytorch issue 135712)."""
        return False

    def get_run_id(self) -> str:
        """See base class."""
        return self._terms.run_id

    def next_rendezvous(self) -> RendezvousInfo:
        """Take part in the next round; returns when it has formed.

        Raises:
            RendezvousClosedError: the job is done.
            RendezvousTimeoutError: too few came within the join timeout.
            StoreLostError: the store is gone or hangs.
        """
        deadline = time.monotonic() + self._terms.join_timeout
        self._reach_store(time.monotonic() + REACH_PATIENCE)
        number = self._newest_round(self.round.number if self.round else 0)
        joined = 0
        quorum_at: float | None = None
        while True:
            if self.link.exists("closed"):
                raise RendezvousClosedError
            formed = self._formed(number)
            if formed is not None and formed.place >= 0:
                break
            if formed is not None:
                # Formed without us: there is room for us in the next one, or we stand by as a spare.
                if len(formed.members) < self._terms.max_nodes:
                    self.open_next(number, "")
                number, quorum_at = self._newest_round(number), None
                if self.link.exists(f"round/{number}/formed"):
                    deadline = time.monotonic() + self._terms.join_timeout
            elif joined != number:
                self._join(number)
                joined, quorum_at = number, None
                if self.link.exists(f"round/{number + 1}/opened"):
                    # It was over, and forgotten: this process stood still since it asked which one is the newest.
                    number = self._newest_round(number)
                continue
            elif count := self.link.add(f"round/{number}/joined", 0):
                quorum_at = self._try_to_form(number, count, quorum_at)
            else:
                # We have joined it, and it is forgotten: this process stood still meanwhile.
                number = self._newest_round(number)
            if time.monotonic() > deadline:
                raise RendezvousTimeoutError(
                    f"round {number} did not form within {self._terms.join_timeout:g} s: "
                    f"{self.link.add(f'round/{number}/joined', 0)} of {self._terms.min_nodes} came"
                )
            self._pause(self.tick)
        self.round = formed
        if formed.place == 0:
            self._forget_old_rounds(formed.number)
        self._beats.begin(self.link, formed)
        self._over = threading.Event()
        self.link.watch(f"round/{formed.number + 1}/opened", self._over.set)
        first = formed.members[0]
        return RendezvousInfo(
            None,  # type: ignore[arg-type]  # the ranks of a round follow from its members: no store is needed
            formed.place,
            len(formed.members),
            RendezvousStoreInfo(first.address, first.port),
        )

    @property
    def join_timeout(self) -> float:
        """Seconds that a launcher waits for others at most."""
        return self._terms.join_timeout

    def release_port(self) -> None:
        """Let the port go that was kept for the ranks' own store; call just before they start."""
        if self._held:
            self._held.close()
            self._held = None

    def superseded(self) -> bool:
        """Whether the next round has been opened; also keeps us and our neighbour alive."""
        assert self.round is not None
        if self._over.is_set():
            return True
        self.link.check()
        if self._beats.neighbour_is_dead(self.link) and not self._neighbour_is_through():
            self.open_next(self.round.number, "")
            return True
        return False

    def open_next(self, number: int, why: str) -> bool:
        """Open the round after `number`; whether we were the first to do so, so that our reason is the one."""
        mine = json.dumps([self._me.node, why])
        first = self.link.create(f"round/{number + 1}/opened", mine) == mine
        self.link.set("newest", str(number + 1))
        return first

    def why_next(self) -> str:
        """Why the round after ours was opened, in the words of whoever did; empty where there was no reason."""
        assert self.round is not None
        said = self.link.get(f"round/{self.round.number + 1}/opened")
        return str(json.loads(said)[1]) if said else ""

    def all_done(self, first_time: bool) -> bool:
        """Whether the ranks of every member have exited 0.

        Args:
            first_time: ours have just done so.
        """
        assert self.round is not None
        if first_time:
            self.link.set(f"round/{self.round.number}/through/{self.round.place}", "1")
        count = self.link.add(f"round/{self.round.number}/done", 1 if first_time else 0)
        return count >= len(self.round.members)

    def is_closed(self) -> bool:
        """See base class."""
        return self.link.exists("closed")

    def set_closed(self) -> None:
        """The job is done: whoever comes later has nothing to do."""
        self.link.set("closed", "1")

    def num_nodes_waiting(self) -> int:
        """See base class."""
        return int(self.superseded())

    def shutdown(self) -> bool:
        """Leave, without closing the meeting for the others."""
        self.release_port()
        if self._link:
            self._link.close()
        return True

    def _neighbour_is_through(self) -> bool:
        """Nobody waits for one whose ranks have exited 0: its pod may have gone."""
        assert self.round is not None
        neighbour = (self.round.place + 1) % len(self.round.members)
        return self.link.exists(f"round/{self.round.number}/through/{neighbour}")

    def _reach_store(self, deadline: float) -> None:
        wait = 0.2
        while self._link is None:
            try:
                self._link = self._connect()
            except StoreLostError:
                if time.monotonic() > deadline:
                    raise
                self._pause(wait)
                wait = min(2 * wait, 2.0)

    def _newest_round(self, known: int) -> int:
        """The number of the newest round that was opened, at least the one after `known` if that has been left."""
        number = max(known, int(self.link.get("newest") or "1"), 1)
        while self.link.exists(f"round/{number + 1}/opened"):
            number += 1
        return number

    def _join(self, number: int) -> None:
        self.release_port()
        self._held = keep_port(socket.AF_INET6 if ":" in self._me.address else socket.AF_INET)
        me = Member(**{**asdict(self._me), "port": self._held.getsockname()[1], "checked": self.checked})
        slot = self.link.add(f"round/{number}/joined", 1)
        self.link.set(f"round/{number}/member/{slot}", json.dumps(asdict(me)))

    def _try_to_form(self, number: int, joined: int, quorum_at: float | None) -> float | None:
        """Write the list if the round is complete, or large enough for long enough; since when it is large enough."""
        terms = self._terms
        count = min(joined, terms.max_nodes)
        if count < terms.min_nodes:
            return None
        now = time.monotonic()
        quorum_at = now if quorum_at is None else quorum_at
        late = now - quorum_at >= terms.last_call
        if count < terms.max_nodes and not late:
            return quorum_at
        said = [self.link.get(f"round/{number}/member/{slot}") for slot in range(1, count + 1)]
        members = [json.loads(text) for text in said if text is not None]
        # One that took a slot and has not said who it is: about to, or dead.
        if len(members) == count or (late and len(members) >= terms.min_nodes):
            members.sort(key=lambda member: (member["name"], member["node"]))
            self.link.create(f"round/{number}/formed", json.dumps(members))
            self.link.drop(f"round/{number}/member/")
        return quorum_at

    def _forget_old_rounds(self, newest: int) -> None:
        """Have the store forget what no launcher can want any more; for one member of a round that has formed."""
        last = newest - KEPT_ROUNDS
        for number in range(int(self.link.get("forgotten") or "0") + 1, last + 1):
            self.link.set(f"round/{number}/opened", json.dumps(["", ""]))
            for name in _OF_A_ROUND:
                self.link.drop(f"round/{number}/{name}")
        if last > 0:
            self.link.set("forgotten", str(last))

    def _formed(self, number: int) -> Round | None:
        text = self.link.get(f"round/{number}/formed")
        if text is None:
            return None
        members = tuple(Member(**member) for member in json.loads(text))
        place = next((i for i, member in enumerate(members) if member.node == self._me.node), -1)
        return Round(number, members, place)
