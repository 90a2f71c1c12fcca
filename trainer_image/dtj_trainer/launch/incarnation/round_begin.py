"""The beginning of a round: who takes part, what is tried before ranks start, and their start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dtj_api.names import LauncherState
from dtj_trainer.launch.incarnation.tools import Tools
from dtj_trainer.launch.meeting.meeting import Meeting
from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.ranks.environment import rank_environment
from dtj_trainer.launch.ranks.ranks import Rank

VERDICT = 5.0
"""Seconds for the operator to end a job whose failure it has just been told."""


@dataclass(frozen=True)
class RoundBegin:
    """How rounds of one incarnation begin on this pod. For the agent's thread."""

    tools: Tools
    meeting: Meeting
    incarnation: int
    pause: Callable[[float], None]
    """Waits so many seconds, or raises LeaveError."""

    def meet(self) -> Round:
        """Take part in the next round; returns when ranks may start.

        Raises:
            LeaveError, RendezvousError, StoreLostError, VolumeNotSharedError.
        """
        tools, board = self.tools, self.tools.board
        board.set(self.incarnation, state=LauncherState.MEETING)
        if tools.probe:
            tools.probe.ask()
        self.meeting.next_rendezvous()
        round = self.meeting.round
        assert round is not None
        board.set(
            self.incarnation,
            state=LauncherState.STARTING,
            round=round.number,
            world_size=round.world_size,
            group_rank=round.place,
        )
        if tools.check and len(round.members) > 1 and not all(member.checked for member in round.members):
            superseded = self.meeting.superseded
            if tools.check.run(self.meeting.link, self.incarnation, round, self.pause, superseded):
                self.meeting.checked = True
                board.set(self.incarnation, volume_shared=True)
        if tools.probe:
            tools.probe.wait(self.pause)
        if round.number > 1 and not tools.restarts:
            self._wait_for_a_verdict()
        return round

    def start(self, round: Round, ranks: list[Rank], on_exit: Callable[[Rank], None]) -> None:
        """Start the ranks of this pod.

        Args:
            round: that has formed.
            ranks: takes each as it is started.
            on_exit: told, in some thread, when one has ended.
        """
        tools, board = self.tools, self.tools.board
        board.begin_round()
        processes = round.members[round.place].ranks
        board.training.begin_round({local: round.first_rank + local for local in range(processes)})
        tools.logs.prune()
        self.meeting.release_port()
        first = round.members[0]
        for local_rank in range(processes):
            global_rank = round.first_rank + local_rank
            output, log = tools.logs.open(self.incarnation, round.number, global_rank)
            rank = Rank(global_rank, local_rank, log, on_exit)
            error_file = tools.error_file(local_rank)
            error_file.unlink(missing_ok=True)
            stack_file = tools.stack_file(local_rank)
            stack_file.unlink(missing_ok=True)
            run_id = self.meeting.get_run_id()
            env = rank_environment(
                round, local_rank, self.incarnation, run_id, first.address, first.port, error_file, stack_file
            )
            tools.zygote.start(tools.command, env, output, rank)
            ranks.append(rank)
        board.training.started()

    def _wait_for_a_verdict(self) -> None:
        """No restart is allowed: who counts the failure, once this round has formed, ends the job by it.

        Or it was nobody's fault: then nothing comes.
        """
        formed = time.monotonic()
        while self.tools.board.shown_at < formed:
            self.pause(self.meeting.tick)
        self.pause(VERDICT)
