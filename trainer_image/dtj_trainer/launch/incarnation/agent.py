"""torchrun's elastic agent with our meeting underneath: one incarnation on this pod, round after round.

It keeps torchrun's contract with the ranks (their environment) and its classes, and replaces what does not survive:
ranks are ended as soon as any pod opens the next round, instead of when a dead collective times out; a pod whose ranks
have finished comes back when another one fails; and leaving never closes the meeting for the others.
"""

from __future__ import annotations

import contextlib
import queue
import time
from enum import Enum, auto

from torch.distributed.elastic.agent.server.api import (
    DEFAULT_ROLE,
    ElasticAgent,
    RunResult,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)

from dtj_api.names import LauncherState
from dtj_trainer.launch.incarnation.hang import is_hang
from dtj_trainer.launch.incarnation.round_begin import RoundBegin
from dtj_trainer.launch.incarnation.round_end import PARTED, PEERS_GRACE, RoundEnd
from dtj_trainer.launch.incarnation.tools import Tools
from dtj_trainer.launch.meeting.meeting import Meeting
from dtj_trainer.launch.meeting.phases import Phases
from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.progress.phase_watch import Stall
from dtj_trainer.launch.progress.round_clock import TRAINED
from dtj_trainer.launch.ranks.command import RunAs
from dtj_trainer.launch.ranks.ranks import Rank, stop_ranks
from dtj_trainer.launch.ranks.running import NestedWatch
from dtj_trainer.launch.store.link import StoreLostError

MAX_RESTARTS = 1_000_000_000
"""Out of the way: the operator owns the budget."""


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
        self.incarnation = incarnation
        self._processes = processes
        self._wishes: queue.SimpleQueue[Rank | int | None] = queue.SimpleQueue()
        self._leaving = False
        self._grace = 0.0
        self._hurried = False
        self.lost_store: StoreLostError | None = None
        """Ranks go on without it: they have a store of their own."""
        self._ranks: list[Rank] = []
        self._nested = NestedWatch(processes)
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
    def _end(self) -> RoundEnd:
        return RoundEnd(self._tools, self.meeting, self.incarnation, self.pause)

    @property
    def meeting(self) -> Meeting:
        """Where this agent meets the others."""
        assert self._meeting is not None
        return self._meeting

    def get_worker_group(self, role: str = DEFAULT_ROLE) -> WorkerGroup:
        """See base class."""
        assert self._group is not None
        return self._group

    @property
    def trains(self) -> bool:
        """Whether ranks of this pod run, all of them."""
        ranks = self._ranks
        return bool(ranks) and all(rank.exit is None for rank in ranks)

    def leave(self, grace: float = 0.0) -> None:
        """End the ranks and return from `run` soon, by LeaveError.

        Args:
            grace: seconds for ranks that handle SIGTERM to end by themselves.
        """
        self._grace = grace
        self._leaving = True
        self._wishes.put(None)

    def hurry(self) -> None:
        """Let ranks that end by themselves after `leave` have no more time for it."""
        self._hurried = True

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
            LeaveError, RendezvousError, VolumeNotSharedError: the ranks have been ended.
            BadConfigError: the same; the command starts ranks itself.
            StoreLostError: the same. It is not raised while the ranks train: they do not need it.
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
            self._say_goodbye(self._end.let_them_end(self._ranks, self._grace, lambda: self._hurried))
            raise
        finally:
            self._stop_ranks()
            self.meeting.shutdown()

    def _stop_ranks(self) -> None:
        if self._ranks:
            for rank in stop_ranks(self._tools.zygote, self._ranks):
                state = "the process waits in the kernel, perhaps for the volume"
                self._tools.logs.say(
                    f"rank {rank.global_rank} (pid {rank.pid}) does not end: {state}; going on without"
                )
            self._ranks = []
            self._tools.board.training.left()

    def _say_goodbye(self, parted: bool) -> None:
        """Have the others end this round by our leaving, before their ranks fail and it looks like an error."""
        if self.meeting.round and self._ranks:
            with contextlib.suppress(StoreLostError):
                self.meeting.open_next(self.meeting.round.number, PARTED if parted else "")

    def _begin_round(self) -> Round:
        begin, board = RoundBegin(self._tools, self.meeting, self.incarnation, self.pause), self._tools.board
        round = begin.meet()
        self._phases.begin(round)
        self._ranks = []
        begin.start(round, self._ranks, self._wishes.put)
        self._nested.begin()
        self._tools.backoff.begin(time.monotonic())
        self._trained_at = time.monotonic() + TRAINED
        board.set(self.incarnation, state=LauncherState.TRAINING)
        self.get_worker_group().state = WorkerState.HEALTHY
        return round

    def _watch(self, round: Round) -> Change:
        """Wait until the round is over here."""
        while True:
            wish: Rank | int | None = None
            try:
                wish = self._wishes.get(timeout=self.meeting.tick)
            except queue.Empty:
                if self._superseded(round):
                    return Change.SUPERSEDED
                self._look_for_nested()
                self._stall = self._tools.board.training.stalled()
                self._note_trained()
                if self._stall:
                    return Change.HUNG
                if text := self._tools.board.training.warning():
                    self._tools.logs.say(text)
            if self._leaving:
                raise LeaveError
            if isinstance(wish, Rank) and wish in self._ranks:
                self._tools.board.training.ended(wish.local_rank)
            if isinstance(wish, int) and wish == round.number:
                return Change.RELEASED
            exits = [rank.exit for rank in self._ranks]
            if any(exit is not None and exit.code != 0 for exit in exits):
                return Change.FAILED
            if all(exit is not None for exit in exits):
                return Change.SUCCEEDED

    def _look_for_nested(self) -> None:
        if self._tools.command.run_as is RunAs.SUBPROCESS:
            self._nested.look([rank.pid for rank in self._ranks if rank.exit is None])

    def _superseded(self, round: Round) -> bool:
        """Whether somebody opened the next round. Nobody can where the store is lost, and healthy ranks go on."""
        training = self._tools.board.training
        try:
            if self.lost_store is None:
                if self.meeting.superseded():
                    return True
                seen = self._phases.look(self.meeting.link, training.busy(), time.monotonic())
                training.others(seen.some_in_none)
                if seen.excuses:
                    training.excuse()
        except StoreLostError as error:
            self.lost_store = error
            text = f"{error}; the ranks go on without it"
            self._tools.logs.say(text)
            self._tools.board.set(self.incarnation, error=text)
        if self.lost_store is not None and len(round.members) > 1:
            # Ours may wait for those of a pod that cannot say any more what they do.
            training.others(False)
            training.excuse()
        return False

    def _note_trained(self) -> None:
        late = self._trained_at is not None and time.monotonic() > self._trained_at
        if late or (self._trained_at is not None and self._tools.board.training.step() is not None):
            self._trained_at = None
            self._tools.on_trained()

    def _wait_for_others(self) -> Change:
        """Our ranks have exited 0: wait, however long, until all have, or until one fails and we are needed again."""
        self._tools.board.set(self.incarnation, state=LauncherState.DONE, error="")
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
            self._end.failed(round, self._ranks, self._stop_ranks)
        elif change is Change.HUNG:
            assert self._stall is not None
            self._end.hung(round, self._ranks, self._stall)
        elif change is Change.SUPERSEDED:
            why = self.meeting.why_next()
            if is_hang(why):
                self._end.take_stacks(round, self._ranks)
            elif why == PARTED:
                self._end.let_them_end(self._ranks, PEERS_GRACE, lambda: False)
        elif change is Change.RELEASED:
            self.meeting.open_next(round.number, "")
        self._stop_ranks()
        tools.board.set(self.incarnation, state=LauncherState.MEETING)
        self.pause(tools.backoff.next_pause(time.monotonic()))
