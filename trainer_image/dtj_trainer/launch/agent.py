"""torchrun's elastic agent with our meeting underneath: one incarnation on this pod, round after round.

It keeps torchrun's contract with the ranks (their environment) and its classes, and replaces what does not survive:
ranks are ended as soon as any pod opens the next round, instead of when a dead collective times out; a pod whose ranks
have finished comes back when another one fails; and leaving never closes the meeting for the others.
"""

from __future__ import annotations

import contextlib
import queue
import time
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path

from torch.distributed.elastic.agent.server.api import (
    DEFAULT_ROLE,
    ElasticAgent,
    RunResult,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)

from dtj_api.names import LauncherState
from dtj_api.wire import encode
from dtj_trainer.launch.command import RunAs
from dtj_trainer.launch.environment import rank_environment
from dtj_trainer.launch.failure import failure_of
from dtj_trainer.launch.hang import TOGETHER, gather_silent, hang_of, is_hang, keep_stacks, take_stacks, tell_silent
from dtj_trainer.launch.meeting import Meeting
from dtj_trainer.launch.phases import Phases
from dtj_trainer.launch.ranks import Rank, stop_ranks
from dtj_trainer.launch.round import Round
from dtj_trainer.launch.stall import Stall
from dtj_trainer.launch.store_link import StoreLostError
from dtj_trainer.launch.tools import Tools

MAX_RESTARTS = 1_000_000_000
"""Out of the way: the operator owns the budget."""


TRAINED = 60.0
"""Seconds after which a round counts as training where no step is reported."""


class LeaveError(Exception):
    """The launcher is wanted elsewhere: end the ranks, and leave the meeting open behind us."""


class Change(Enum):
    """Why a round is over on this pod."""

    SUCCEEDED = auto()
    FAILED = auto()
    SUPERSEDED = auto()
    RELEASED = auto()
    HUNG = auto()


class Agent(ElasticAgent):
    """Runs the ranks of this pod in one incarnation. `run` belongs to one thread; the other methods to any."""

    def __init__(self, tools: Tools, incarnation: int, processes: int) -> None:
        self._tools = tools
        self._incarnation = incarnation
        self._processes = processes
        self._wishes: queue.SimpleQueue[Rank | int | None] = queue.SimpleQueue()
        self._leaving = False
        self._ranks: list[Rank] = []
        self._stall: Stall | None = None
        self._phases = Phases(0.0)
        self._trained_at: float | None = None
        self._meeting: Meeting | None = None
        self._group: WorkerGroup | None = None

    def attend(self, meeting: Meeting) -> None:
        """Set where to meet; before `run`."""
        self._meeting = meeting
        self._phases = Phases(10 * meeting.tick)
        spec = WorkerSpec(
            role=DEFAULT_ROLE,
            local_world_size=self._processes,
            rdzv_handler=meeting,
            entrypoint=self._tools.command.script or self._tools.command.module or self._tools.command.argv[0],
            args=self._tools.command.argv,
            max_restarts=MAX_RESTARTS,
        )
        self._group = WorkerGroup(spec)

    @property
    def meeting(self) -> Meeting:
        """Where this agent meets the others."""
        assert self._meeting is not None
        return self._meeting

    def get_worker_group(self, role: str = DEFAULT_ROLE) -> WorkerGroup:
        """See base class."""
        assert self._group is not None
        return self._group

    def leave(self) -> None:
        """End the ranks and return from `run` soon, by LeaveError."""
        self._leaving = True
        self._wishes.put(None)

    def release(self, round: int) -> None:
        """End the ranks if they are of this round: they are blocked in a collective with a dead peer."""
        self._wishes.put(round)

    def pause(self, seconds: float) -> None:
        """Wait, unless the launcher is wanted elsewhere.

        Raises:
            LeaveError: it is.
        """
        deadline = time.monotonic() + seconds
        while True:
            if self._leaving:
                raise LeaveError
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                self._wishes.get(timeout=left)
            except queue.Empty:
                return

    def run(self, role: str = DEFAULT_ROLE) -> RunResult:
        """Meet and run rounds until all ranks of all pods have exited 0.

        Raises:
            LeaveError, RendezvousError, StoreLostError, VolumeNotSharedError: the ranks have been ended.
        """
        try:
            while True:
                round = self._begin_round()
                change = self._watch(round)
                if change is Change.SUCCEEDED:
                    change = self._wait_for_others()
                if change is Change.SUCCEEDED:
                    return RunResult(state=WorkerState.SUCCEEDED)
                self._end_round(round, change)
        except LeaveError:
            self._say_goodbye()
            raise
        finally:
            self._stop_ranks()
            self.meeting.shutdown()

    def _stop_ranks(self) -> None:
        if self._ranks:
            stop_ranks(self._tools.zygote, self._ranks)
            self._ranks = []
            self._tools.board.training.left()

    def _say_goodbye(self) -> None:
        """Have the others end this round by our leaving, before their ranks fail and it looks like an error."""
        if self.meeting.round and self._ranks:
            with contextlib.suppress(StoreLostError):
                self.meeting.open_next(self.meeting.round.number, "")

    def _begin_round(self) -> Round:
        tools, board = self._tools, self._tools.board
        board.set(self._incarnation, state=LauncherState.MEETING)
        if tools.probe:
            tools.probe.ask()
        info = self.meeting.next_rendezvous()
        round = self.meeting.round
        assert round is not None
        board.set(
            self._incarnation,
            state=LauncherState.STARTING,
            round=round.number,
            world_size=round.world_size,
            group_rank=round.place,
        )
        if tools.check and len(round.members) > 1 and not all(member.checked for member in round.members):
            tools.check.run(self.meeting.link, self._incarnation, round, self.pause)
            self.meeting.checked = True
            board.set(self._incarnation, volume_shared=True)
        if tools.probe:
            tools.probe.wait(self.pause)
        tools.board.begin_round()
        self._phases.begin(round)
        board.training.begin_round({local: round.first_rank + local for local in range(self._processes)})
        tools.logs.prune()
        assert info.bootstrap_store_info is not None
        self._start_ranks(round, info.bootstrap_store_info.master_addr, info.bootstrap_store_info.master_port)
        board.training.started()
        tools.backoff.begin(time.monotonic())
        self._trained_at = time.monotonic() + TRAINED
        board.set(self._incarnation, state=LauncherState.TRAINING)
        self.get_worker_group().state = WorkerState.HEALTHY
        return round

    def _start_ranks(self, round: Round, address: str, port: int) -> None:
        self._ranks = []
        self.meeting.release_port()
        for local_rank in range(self._processes):
            global_rank = round.first_rank + local_rank
            output, log = self._tools.logs.open(self._incarnation, round.number, global_rank)
            rank = Rank(global_rank, local_rank, log, self._wishes.put)
            error_file = self._error_file(local_rank)
            error_file.unlink(missing_ok=True)
            stack_file = self._stack_file(local_rank)
            stack_file.unlink(missing_ok=True)
            env = rank_environment(
                round, local_rank, self._incarnation, self.meeting.get_run_id(), address, port, error_file, stack_file
            )
            self._tools.zygote.start(self._tools.command, env, output, rank)
            self._ranks.append(rank)

    def _error_file(self, local_rank: int) -> Path:
        return self._tools.scratch / f"error-{local_rank}.json"

    def _stack_file(self, local_rank: int) -> Path:
        return self._tools.scratch / f"stack-{local_rank}.txt"

    def _watch(self, round: Round) -> Change:
        """Wait until the round is over here."""
        while True:
            wish: Rank | int | None = None
            try:
                wish = self._wishes.get(timeout=self.meeting.tick)
            except queue.Empty:
                if self.meeting.superseded():
                    return Change.SUPERSEDED
                training = self._tools.board.training
                if self._phases.look(self.meeting.link, training.busy(), time.monotonic()):
                    training.excuse()
                self._stall = training.stalled()
                self._note_trained()
                if self._stall:
                    return Change.HUNG
            if self._leaving:
                raise LeaveError
            if isinstance(wish, int) and wish == round.number:
                return Change.RELEASED
            exits = [rank.exit for rank in self._ranks]
            if any(exit is not None and exit.code != 0 for exit in exits):
                return Change.FAILED
            if all(exit is not None for exit in exits):
                return Change.SUCCEEDED

    def _note_trained(self) -> None:
        late = self._trained_at is not None and time.monotonic() > self._trained_at
        if late or (self._trained_at is not None and self._tools.board.training.step() is not None):
            self._trained_at = None
            self._tools.on_trained()

    def _wait_for_others(self) -> Change:
        """Our ranks have exited 0: wait, however long, until all have, or until one fails and we are needed again."""
        self._tools.board.set(self._incarnation, state=LauncherState.DONE)
        done = self.meeting.all_done(first_time=True)
        while not done:
            if self.meeting.superseded():
                return Change.SUPERSEDED
            self.pause(2 * self.meeting.tick)
            done = self.meeting.all_done(first_time=False)
        self.meeting.set_closed()
        return Change.SUCCEEDED

    def _end_round(self, round: Round, change: Change) -> None:
        tools = self._tools
        self.get_worker_group().state = WorkerState.STOPPED
        if change is Change.FAILED:
            # A rank of ours may have failed only because a peer did: whoever opens the next round was first.
            failure, trace = failure_of(self._incarnation, round.number, self._ranks, self._error_file)
            failure = replace(failure, step=tools.board.training.step())
            if self.meeting.open_next(round.number, encode(failure).decode()):
                tools.board.fail(failure)
                tools.on_failure(failure, trace)
        elif change is Change.HUNG:
            self._end_hung(round)
        elif change is Change.SUPERSEDED and is_hang(self.meeting.why_next()):
            self._take_stacks(round)
        elif change is Change.RELEASED:
            self.meeting.open_next(round.number, "")
        self._stop_ranks()
        tools.board.set(self._incarnation, state=LauncherState.MEETING)
        self.pause(tools.backoff.next_pause(time.monotonic()))

    def _end_hung(self, round: Round) -> None:
        board, link = self._tools.board, self.meeting.link
        assert self._stall is not None
        found = hang_of(self._incarnation, round, self._stall, self._take_stacks(round))
        if not self.meeting.open_next(round.number, encode(found).decode()):
            self.pause(TOGETHER)
            return
        try:
            silent = gather_silent(link, round, self.pause)
            found = hang_of(self._incarnation, round, self._stall, silent)
        finally:
            # Nobody else tells of it, also where we are called away or lose the store while the others answer.
            found = replace(found, step=board.training.step())
            board.fail(found)
            self._tools.on_failure(found, "")

    def _take_stacks(self, round: Round) -> dict[int, str]:
        logs = self._tools.logs
        file_of = None if self._tools.command.run_as is RunAs.SUBPROCESS else self._stack_file
        taken = take_stacks(self._tools.zygote, self._ranks, file_of)
        for rank, why in taken.silent.items():
            logs.say(f"no stack of rank {rank}: {why}")
        try:
            tell_silent(self.meeting.link, round, taken.silent)
        finally:
            keep_stacks(taken, logs.folder_of(self._incarnation, round.number))
        return taken.silent
