"""The decisions of PID 1: one agent per incarnation, entered and left as the operator and the kubelet say.

The main thread alone decides; servers, agent and logs run in threads that put events on its queue.
"""

from __future__ import annotations

import queue
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import torch

from dtj_api.names import ExitCode, LauncherState
from dtj_api.wire import Failure, Meet, Release, Stop
from dtj_trainer.launch.events import ChildEnded, Event, Outcome, Terminate, ZygoteLost
from dtj_trainer.launch.inbox import Inbox
from dtj_trainer.launch.incarnation.agent import Agent
from dtj_trainer.launch.incarnation.attendance import attend, meeting_of
from dtj_trainer.launch.incarnation.round_end import PEERS_GRACE
from dtj_trainer.launch.incarnation.tools import Tools
from dtj_trainer.launch.meeting.backoff import Backoff
from dtj_trainer.launch.progress.board import Board
from dtj_trainer.launch.progress.stall import FACTOR
from dtj_trainer.launch.ranks.command import Command
from dtj_trainer.launch.ranks.logs import Logs, write_all
from dtj_trainer.launch.ranks.process import reap_orphans
from dtj_trainer.launch.ranks.ranks import Zygote
from dtj_trainer.launch.serve.servers import Servers
from dtj_trainer.launch.settings import Settings
from dtj_trainer.launch.termination import describe_failure, write_termination
from dtj_trainer.launch.volume.probe import VolumeProbe
from dtj_trainer.launch.volume.shared import VolumeCheck

LINGER = 10.0
"""Seconds for somebody to fetch the last report before the pod is gone."""
LAST_WORD = 1.0
"""The same for a pod that leaves, whose replacement waits for its name."""
QUIT_PATIENCE = PEERS_GRACE + 30.0
"""Seconds for an incarnation to end, beside the time that its ranks may have to end by themselves: they are killed in a
fraction of that, but a hung volume holds a thread for ever."""
LEAST_QUIT = 5.0
"""Of that, what a pod that leaves waits for at least, however short its grace period is."""
LEAVE_SHARE = 0.15
"""Share of the grace period that is kept for leaving after a save."""
STILL = 30.0
"""Seconds without a step, a phase or a save, or FACTOR times as long as a step of theirs has taken, after which ranks
that should save before they move are given up: they may wait for one that is gone, and nobody be there to say so."""


class Launcher:
    """One worker pod.

    Args:
        settings: from the environment.
        command: what each rank runs.
        scratch: private folder; removed at the end.
        channel: to the zygote.
        events: what the main thread is told; signal handlers put there already.
    """

    def __init__(
        self,
        settings: Settings,
        command: Command,
        scratch: Path,
        channel: socket.socket,
        events: queue.SimpleQueue[Event],
    ) -> None:
        self._settings = settings
        self._command = command
        self._scratch = scratch
        self._events = events
        self._inbox = Inbox(events)
        self._board = Board(settings.pod_uid, settings.index, command.run_as, settings.step_timeout)
        self._logs = Logs(write_all(sys.stdout.fileno()), settings.work_dir / "logs" if settings.work_dir else None)
        self._processes = settings.processes or max(1, torch.cuda.device_count())
        self._servers = Servers(settings, self._board, scratch, events.put, self._logs.say)
        self._agent: Agent | None = None
        self._store = ""
        """Where the agent has met."""
        self._thread: threading.Thread | None = None
        probe = None
        if settings.work_dir:
            tell, say = self._board.tried_volume, self._logs.say
            probe = VolumeProbe(settings.work_dir, settings.index, settings.pod_uid, tell, say)
        self._tools = Tools(
            command=command,
            zygote=Zygote(channel, lambda: events.put(ZygoteLost())),
            logs=self._logs,
            board=self._board,
            backoff=Backoff(settings.backoff_initial, settings.backoff_max),
            scratch=scratch,
            check=VolumeCheck(settings.work_dir, settings.index) if settings.work_dir else None,
            probe=probe,
            restarts=settings.restarts,
            on_failure=self._tell_failure,
            on_trained=self._forget_failure,
        )

    def run(self, zygote: int) -> ExitCode:
        """Obey until the end; the code to exit with.

        Args:
            zygote: its pid.
        """
        try:
            self._servers.start()
        except OSError as error:
            write_termination(self._settings.termination_log, f"a port cannot be opened: {error}")
            self._logs.say(f"a port cannot be opened: {error}")
            return self._end(ExitCode.BAD_CONFIG)
        if self._tools.probe:
            self._tools.probe.ask()
        self._logs.say(f"worker {self._settings.index} waits to be told where to meet; runs as {self._command.run_as}")
        if self._command.note:
            self._logs.say(self._command.note)
        while True:
            code = self._handle(self._inbox.take(), zygote)
            if code is not None:
                return self._end(code)

    def _handle(self, event: Event, zygote: int) -> ExitCode | None:
        match event:
            case ChildEnded():
                if zygote in reap_orphans():
                    return self._fail("the process that ranks are forked from has died")
            case ZygoteLost():
                return self._fail("the process that ranks are forked from has died")
            case Meet():
                return self._enter(event)
            case Release() if self._agent and event.incarnation == self._agent.incarnation:
                self._agent.release(event.round)
            case Terminate():
                self._forget_failure()
                return self._leave(save=True)
            case Stop():
                return self._leave(save=event.save)
            case Outcome() if event.incarnation == self._board.wanted and event.state:
                return self._conclude(event)
        return None

    def _enter(self, meet: Meet) -> ExitCode | None:
        """Leave the incarnation that we are in, and begin this one, unless a newer one is wanted already."""
        moves = self._agent and self._agent.trains and (self._agent.lost_store or meet.store != self._store)
        if self._agent and moves and not self._inbox.called_away():
            self._save_before_moving(self._agent)
        if self._inbox.called_away():
            # Then it leaves from where it is, with the save that its ranks are perhaps about.
            return None
        ended = self._quit_agent(QUIT_PATIENCE, lambda: self._inbox.called_away())
        if self._inbox.called_away():
            return None
        if not ended:
            return self._fail(f"the incarnation before {meet.incarnation} has not ended for {QUIT_PATIENCE:g} s")
        if not self._board.enter(meet):
            return None
        self._logs.say(f"incarnation {meet.incarnation}: meets {meet.min_nodes}..{meet.max_nodes} at {meet.store}")
        self._agent, self._store = Agent(self._tools, meet.incarnation, self._processes), meet.store
        self._thread = threading.Thread(target=self._attend, args=(self._agent, meet), name="agent", daemon=True)
        self._thread.start()
        return None

    def _save_before_moving(self, agent: Agent) -> None:
        """Another store, and ranks that have trained on without the one before: what they made since is not lost.

        All launchers are told to move, and ask for the same save. Who is told late finds it made. That a newer meeting
        is wanted meanwhile says nothing against it; that the round is released does: a peer of the ranks is gone.
        """
        training, began = self._board.training, time.monotonic()
        saved = self._servers.save(f"move-{agent.incarnation}")
        deadline = began + self._settings.grace * (1 - LEAVE_SHARE)

        def is_over() -> bool:
            patience = max(STILL, FACTOR * training.longest_step())
            late = time.monotonic() > min(deadline, max(began, training.still_since()) + patience)
            return saved.done() or not agent.trains or late or self._inbox.called_away() or self._is_released

        self._inbox.wait(is_over)
        if self._inbox.called_away():
            saved.cancel()
            return
        self._logs.say("saved before moving to another store" if _result(saved) else "moves without a save")

    @property
    def _is_released(self) -> bool:
        report = self._board.report()
        return self._inbox.is_released(report.incarnation, report.round)

    def _quit_agent(self, patience: float, over: Callable[[], bool], grace: float = 0.0) -> bool:
        """Have the agent leave; whether it did.

        Args:
            patience: seconds, after the grace.
            over: whether nobody waits for it any more.
            grace: seconds for ranks that handle SIGTERM to end by themselves.
        """
        if self._agent and self._thread:
            thread, parting = self._thread, time.monotonic() + grace
            self._agent.leave(grace)
            self._inbox.wait(lambda: not thread.is_alive() or time.monotonic() > parting or self._inbox.is_hurried)
            self._agent.hurry()
            deadline = time.monotonic() + patience
            self._inbox.wait(lambda: not thread.is_alive() or time.monotonic() > deadline or over())
            if thread.is_alive():
                return False
        self._agent = None
        return True

    def _attend(self, agent: Agent, meet: Meet) -> None:
        """One incarnation, in a thread of its own."""
        meeting = meeting_of(self._settings, meet, self._processes, agent.pause)
        self._events.put(attend(agent, meeting, self._board))

    def _conclude(self, outcome: Outcome) -> ExitCode | None:
        """The agent has returned by itself: leave, or stay for another meeting."""
        assert outcome.state is not None
        if self._board.report().state == LauncherState.DONE and outcome.exit_code is None:
            # The store went away when our ranks had all exited 0. The others tell whether that was the end.
            return None
        if outcome.error:
            self._logs.say(outcome.error)
        if outcome.exit_code is None:
            self._board.set(outcome.incarnation, state=outcome.state, error=outcome.error)
            return None
        self._board.finish(outcome.state, outcome.error)
        if outcome.exit_code is not ExitCode.DONE:
            write_termination(self._settings.termination_log, outcome.error)
        else:
            write_termination(self._settings.termination_log, "")
        self._servers.wait_until_shown(LINGER)
        return outcome.exit_code

    def _leave(self, *, save: bool) -> ExitCode:
        """Go for good, with a save first if the ranks can still agree on one."""
        if self._board.report().state == LauncherState.DONE:
            return ExitCode.DONE
        self._board.drain()
        grace = 0.0
        if save and self._agent:
            deadline = time.monotonic() + self._settings.grace * (1 - LEAVE_SHARE)
            saved = self._servers.save(f"leave-{self._settings.pod_uid}")

            def is_over() -> bool:
                return saved.done() or time.monotonic() > deadline or self._is_released or self._inbox.is_hurried

            self._inbox.wait(is_over)
            made = _result(saved)
            self._say_how_it_leaves(made)
            if made is False:
                # They may save by themselves, as scripts do that know of SIGTERM and nothing of us.
                grace = max(0.0, deadline - time.monotonic())
        self._quit_agent(max(LEAST_QUIT, self._settings.grace * LEAVE_SHARE), lambda: False, grace)
        if self._board.report().progress.checkpoint_step is not None:
            # The save is the last that this pod has to tell, and the status is to tell it too.
            self._servers.wait_until_shown(LAST_WORD)
        return ExitCode.DRAINED

    def _say_how_it_leaves(self, saved: bool | None) -> None:
        """A save that was lost is not lost in silence: whoever reads why this pod ended finds it."""
        if saved:
            self._logs.say("saved before leaving")
            return
        lost = self._board.report().lost_saves
        why = f"it failed: {lost.text}" if lost.count else "the ranks could not make one"
        if self._is_released:
            why = "the ranks have lost a peer, and could not make one"
        elif self._inbox.is_hurried:
            why = "the job wants none any more"
        self._logs.say(f"leaves without a save: {why}")
        if lost.count:
            text = f"left without a save: that of step {lost.step} failed: {lost.text}"
            write_termination(self._settings.termination_log, text)

    def _fail(self, error: str) -> ExitCode:
        self._board.finish(LauncherState.FAILED, error)
        self._logs.say(error)
        write_termination(self._settings.termination_log, error)
        return ExitCode.FAILED

    def _tell_failure(self, failure: Failure, trace: str) -> None:
        text = describe_failure(failure, trace)
        self._logs.say(text.partition("\n")[0])
        write_termination(self._settings.termination_log, text)

    def _forget_failure(self) -> None:
        """Somebody who reads why this pod ended must not find a failure that was survived."""
        write_termination(self._settings.termination_log, "")

    def _end(self, code: ExitCode) -> ExitCode:
        self._servers.close()
        self._logs.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        return code


def _result(saved: Future[bool]) -> bool | None:
    """What became of a save; None, and it is given up, where that is not known yet."""
    if saved.done():
        return saved.result()
    saved.cancel()
    return None
