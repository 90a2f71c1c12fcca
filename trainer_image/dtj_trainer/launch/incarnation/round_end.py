"""The end of a round: what is told of it, and the time that ranks have for it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from dtj_api.wire import Failure, encode
from dtj_trainer.launch.incarnation.failure import failure_of
from dtj_trainer.launch.incarnation.hang import TOGETHER, gather_silent, hang_of, keep_stacks, take_stacks, tell_silent
from dtj_trainer.launch.incarnation.tools import Tools
from dtj_trainer.launch.meeting.meeting import Meeting
from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.progress.phase_watch import Stall
from dtj_trainer.launch.ranks.command import RunAs
from dtj_trainer.launch.ranks.process import handlers
from dtj_trainer.launch.ranks.ranks import Rank
from dtj_trainer.launch.store.link import StoreLostError

ELSEWHERE = 5.0
"""Seconds that a failure waits to be told while the store is lost, where peers that meet anew already explain it."""
PARTED = "parted"
"""Why a round is over whose ranks ended by themselves when a pod left: after a save of their own, perhaps."""
PEERS_GRACE = 30.0
"""Seconds for the other pods' ranks to end then, as torchrun gives its own."""


@dataclass(frozen=True)
class RoundEnd:
    """How rounds of one incarnation end on this pod. For the agent's thread."""

    tools: Tools
    meeting: Meeting
    incarnation: int
    pause: Callable[[float], None]
    """Waits so many seconds, or raises LeaveError."""

    def failed(self, round: Round, ranks: list[Rank], stop: Callable[[], None]) -> None:
        """A rank has failed: open the next round, and tell why if we are the first to.

        Args:
            round: that ends.
            ranks: of this pod.
            stop: ends them.

        Raises:
            StoreLostError: the failure has been told, unless a peer's leaving explains it.
        """
        training = self.tools.board.training
        # What fails for want of memory or of a port that an earlier rank holds is not the script's doing.
        comparable = training.before_steps() and not self.tools.zygote.outlived(ranks)
        failure, trace = failure_of(
            self.incarnation, round.number, training.step(), comparable, ranks, self.tools.error_file
        )
        try:
            # A rank of ours may have failed only because a peer did: whoever opens the next round was first.
            first = self.meeting.open_next(round.number, encode(failure).decode())
        except StoreLostError:
            # Nobody knows who was first: each pod tells, and the operator takes the earliest.
            stop()
            if not (failure.user_error or (failure.exit_code < 0 and failure.exit_code != -signal.SIGABRT)):
                # Perhaps a peer was told before us to meet elsewhere, and left; then so are we, within seconds.
                self.pause(ELSEWHERE)
            self._tell(failure, trace)
            raise
        if first:
            self._tell(failure, trace)

    def hung(self, round: Round, ranks: list[Rank], stall: Stall) -> None:
        """The ranks make no step: take their stacks, open the next round, and tell it if we are the first to.

        Raises:
            LeaveError, StoreLostError: it has been told.
        """
        board, link = self.tools.board, self.meeting.link
        found = hang_of(self.incarnation, round, stall, self.take_stacks(round, ranks))
        try:
            first = self.meeting.open_next(round.number, encode(found).decode())
        except StoreLostError:
            self._tell(replace(found, step=board.training.step()), "")
            raise
        if not first:
            self.pause(TOGETHER)
            return
        try:
            silent = gather_silent(link, round, self.pause)
            found = hang_of(self.incarnation, round, stall, silent)
        finally:
            # Nobody else tells of it, also where we are called away or lose the store while the others answer.
            self._tell(replace(found, step=board.training.step()), "")

    def take_stacks(self, round: Round, ranks: list[Rank]) -> dict[int, str]:
        """Keep the stacks of our ranks, and tell the others which of them gave none: global rank to why."""
        logs = self.tools.logs
        file_of = None if self.tools.command.run_as is RunAs.SUBPROCESS else self.tools.stack_file
        taken = take_stacks(self.tools.zygote, ranks, file_of)
        for rank, why in taken.silent.items():
            logs.say(f"no stack of rank {rank}: {why}")
        with contextlib.suppress(StoreLostError):
            tell_silent(self.meeting.link, round, taken.silent)
        keep_stacks(taken, logs.folder_of(self.incarnation, round.number))
        return taken.silent

    def let_them_end(self, ranks: list[Rank], grace: float, hurried: Callable[[], bool]) -> bool:
        """Have ranks that handle SIGTERM end by themselves; whether all of them ended well then.

        Args:
            ranks: of this pod.
            grace: seconds that they have.
            hurried: whether they have no more time than this moment.
        """
        running = [rank for rank in ranks if grace and rank.exit is None]
        told = {rank.id: handlers(rank.pid, signal.SIGTERM) for rank in running}
        asked = [rank for rank in running if told[rank.id]]
        if asked:
            self.tools.logs.say(f"ranks handle SIGTERM: they have {grace:.0f} s to end by themselves")
        for rank in asked:
            # Alone: data loaders would die of it in the middle of the last step.
            if told[rank.id] == [rank.pid]:
                self.tools.zygote.signal(rank, signal.SIGTERM)
                continue
            for pid in told[rank.id]:
                # It has ended, or belongs to somebody else.
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while (left := next((rank for rank in asked if rank.exit is None), None)) and not hurried():
            if time.monotonic() >= deadline:
                break
            left.wait(self.meeting.tick)
            with contextlib.suppress(StoreLostError):
                # The others must not take us for dead meanwhile.
                self.meeting.superseded()
        return bool(asked) and all(rank.exit is not None and rank.exit.code == 0 for rank in ranks)

    def _tell(self, failure: Failure, trace: str) -> None:
        self.tools.board.fail(failure)
        self.tools.on_failure(failure, trace)
