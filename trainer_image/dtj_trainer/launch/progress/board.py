"""The state of this launcher, in one place that threads may read and write: what `/progress` and `/metrics` show."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from dtj_api.names import LauncherState
from dtj_api.wire import STORE_PROTOCOL, Failure, Meet, Report, VolumeTry, encode
from dtj_trainer.launch.progress.lost_saves import SaveLog
from dtj_trainer.launch.progress.stall import Timeout
from dtj_trainer.launch.progress.training import Training

MAX_FAILURES = 64
"""Failures that a report tells, for an operator that was away: the last ones."""
MAX_DAMAGED = 5
TEXT_BYTES = 32 * 1024
"""Room for their texts. Beyond it the older ones are told without: they are counted all the same, and a report that is
longer than `wire.MAX_BODY` would be read by nobody."""


class Refused(Exception):
    """A control message is out of date; the text says by what."""


class Board:
    """What the launcher knows of itself."""

    def __init__(self, pod_uid: str, index: int, run_as: str, step_timeout: Timeout) -> None:
        self.training = Training(step_timeout)
        self._lock = threading.Lock()
        self._meet: Meet | None = None
        self._failures: list[Failure] = []
        self._rounds = 0
        self._damaged: list[str] = []
        self._told: set[str] = set()
        self._saves = SaveLog()
        self._fields: dict[str, Any] = {
            "pod_uid": pod_uid,
            "index": index,
            "state": LauncherState.WAITING,
            "incarnation": 0,
            "round": 0,
            "world_size": 0,
            "group_rank": -1,
            "run_as": run_as,
        }

    def accept(self, meet: Meet) -> bool:
        """Take a new incarnation; False if it is the one that was taken last, of which more rounds may start perhaps.

        Where ranks run, they may have to save first: until `enter` the report tells of them, so that who reads it knows
        which round to end if a peer of theirs is lost.

        Raises:
            Refused: it is lower than ours, or the same with other terms; or the launcher is leaving.
        """
        with self._lock:
            if self._fields["state"] == LauncherState.DRAINING:
                raise Refused("this launcher is leaving")
            if self._meet is not None:
                if replace(meet, rounds=None) == replace(self._meet, rounds=None):
                    told = [rounds for rounds in (self._meet.rounds, meet.rounds) if rounds is not None]
                    self._meet = replace(meet, rounds=max(told, default=None))
                    return False
                if meet.incarnation <= self._meet.incarnation:
                    raise Refused(
                        f"incarnation {meet.incarnation} is refused: this launcher has met under "
                        f"{self._meet.incarnation}, and each meeting needs a higher one"
                    )
            self._meet = meet
            if self._fields["state"] not in (LauncherState.STARTING, LauncherState.TRAINING):
                self._enter(meet)
            return True

    def enter(self, meet: Meet) -> bool:
        """The ranks of the incarnation before are done with; False if a newer one has been taken since."""
        with self._lock:
            if self._meet is None or meet.incarnation != self._meet.incarnation:
                return False
            if self._fields["incarnation"] != meet.incarnation:
                self._enter(meet)
            return True

    def _enter(self, meet: Meet) -> None:
        self._fields |= {
            "state": LauncherState.MEETING,
            "incarnation": meet.incarnation,
            "round": 0,
            "world_size": 0,
            "group_rank": -1,
            "error": "",
            "held": 0,
        }

    def set(self, incarnation: int, **fields: Any) -> None:
        """Change fields of the report, unless a newer incarnation has been entered, or the launcher is leaving."""
        with self._lock:
            if incarnation != self._fields["incarnation"]:
                return
            if self._fields["state"] == LauncherState.DRAINING and "state" in fields:
                del fields["state"]
            self._fields |= fields

    def drain(self) -> None:
        """The launcher leaves, whatever comes."""
        with self._lock:
            self._fields["state"] = LauncherState.DRAINING

    def finish(self, state: LauncherState, error: str = "") -> None:
        """The last state before the launcher exits."""
        with self._lock:
            self._fields |= {"state": state, "error": error}

    def fail(self, failure: Failure) -> None:
        """Keep the first failure of a round, as this pod saw it."""
        with self._lock:
            self._failures = _fitted([*self._failures, failure][-MAX_FAILURES:])

    def found_damaged(self, text: str) -> None:
        """A rank has passed over a damaged checkpoint."""
        text = text[:1024]
        with self._lock:
            # Where none is whole each round finds the same ones.
            if text not in self._told:
                self._told.add(text)
                self._damaged = [*self._damaged, text][-MAX_DAMAGED:]

    @property
    def damaged_count(self) -> int:
        """Damaged checkpoints that ranks of this pod have told of."""
        with self._lock:
            return len(self._told)

    def save_failed(self, local_rank: int, said: dict[str, Any]) -> None:
        """A rank has told of a save that failed."""
        with self._lock:
            self._saves.failed(local_rank, said, time.time())

    def published(self) -> None:
        """A rank has told of a save that was published."""
        with self._lock:
            self._saves.published()

    @property
    def failed_saves(self) -> int:
        """Saves that have failed since the launcher began."""
        with self._lock:
            return self._saves.total

    def tried_volume(self, found: VolumeTry) -> None:
        """What became of a small file on the volume."""
        with self._lock:
            self._fields["volume"] = found

    def begin_round(self) -> None:
        """Ranks of this pod are started."""
        with self._lock:
            self._rounds += 1

    def saved(self, id: str) -> None:
        """A save that was asked for has been published."""
        with self._lock:
            self._fields["last_save"] = id

    @property
    def restarts(self) -> int:
        """Rounds after the first one in which ranks of this pod were started, in whatever incarnation."""
        with self._lock:
            return max(0, self._rounds - 1)

    @property
    def incarnation(self) -> int:
        """The incarnation that this launcher is in."""
        with self._lock:
            return int(self._fields["incarnation"])

    @property
    def wanted(self) -> int:
        """The incarnation that this launcher is in, or about to be in."""
        with self._lock:
            return int(self._fields["incarnation"]) if self._meet is None else self._meet.incarnation

    def may_start(self, incarnation: int, round: int) -> bool | None:
        """Whether the ranks of this round may start, by the last `meet`; None: it does not say."""
        with self._lock:
            if self._meet is None:
                return None
            if self._meet.incarnation != incarnation:
                # Its word is for another round of that number.
                return False
            return None if self._meet.rounds is None else round <= self._meet.rounds

    def report(self) -> Report:
        """All of it."""
        with self._lock:
            return Report(
                **{**self._fields, "state": str(self._fields["state"])},
                failures=tuple(self._failures),
                damaged=tuple(self._damaged),
                lost_saves=self._saves.lost,
                store_protocol=STORE_PROTOCOL,
                progress=self.training.progress(),
                reports=self.training.reports,
                clock=self.training.clock(),
                paces=self.training.paces(),
            )


def _fitted(failures: list[Failure]) -> list[Failure]:
    """The same failures: where there is no room for all, older ones without the tails of their logs, or without texts.

    The last one is told whole. Of the others messages come before tails: by them the operator sees that it is the same
    error again, and rules match them.
    """
    fitted = [replace(failure, message="", log_tail="") for failure in failures]
    room = TEXT_BYTES
    older = range(len(failures) - 2, -1, -1)
    texts = [(len(failures) - 1, "message"), (len(failures) - 1, "log_tail")]
    for place, field in [*texts, *((each, "message") for each in older), *((each, "log_tail") for each in older)]:
        longer = replace(fitted[place], **{field: getattr(failures[place], field)})
        cost = len(encode(longer)) - len(encode(fitted[place]))
        if cost <= room:
            fitted[place], room = longer, room - cost
    return fitted
