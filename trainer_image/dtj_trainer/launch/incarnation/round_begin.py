"""The beginning of a round: who takes part, what is tried before ranks start, and their start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch.distributed.elastic.rendezvous.api import RendezvousTimeoutError

from dtj_api.names import LauncherState
from dtj_trainer.launch.incarnation.tools import Tools
from dtj_trainer.launch.meeting.meeting import Meeting
from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.ranks.environment import rank_environment
from dtj_trainer.launch.ranks.ranks import Rank


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
        while True:
            round = self._form()
            if self._may_start(round):
                return round

    def _form(self) -> Round:
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

    def _may_start(self, round: Round) -> bool:
        """Wait until the operator lets the round start, where it has to; False if it was over before.

        Raises:
            LeaveError, StoreLostError.
            RendezvousTimeoutError: no word came. Who meets anew does so by the operator's word too, of any version.
        """
        board, wait = self.tools.board, self.meeting.join_timeout
        deadline = time.monotonic() + wait
        try:
            while not self._is_let(round):
                board.set(self.incarnation, held=len(round.members))
                if self.meeting.superseded():
                    return False
                if time.monotonic() > deadline:
                    raise RendezvousTimeoutError(
                        f"round {round.number} was not let start within {wait:g} s: with maxRestarts 0 the ranks wait "
                        "for the operator's word, and an operator of an earlier version does not know it"
                    )
                self.pause(self.meeting.tick)
            return True
        finally:
            board.set(self.incarnation, held=0)

    def _is_let(self, round: Round) -> bool:
        said = self.tools.board.may_start(self.incarnation, round.number)
        return self.tools.restarts or round.number == 1 if said is None else said
