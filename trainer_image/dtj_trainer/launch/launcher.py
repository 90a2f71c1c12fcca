"""The decisions of PID 1: one agent per incarnation, entered and left as the operator and the kubelet say.

The main thread alone decides; servers, agent and logs run in threads that put events on its queue.
"""

from __future__ import annotations

import queue
import shutil
import socket
import sys
import threading
from pathlib import Path

import torch
from torch.distributed.elastic.rendezvous.api import RendezvousClosedError, RendezvousError

from dtj_api.names import ExitCode, LauncherState
from dtj_api.wire import Failure, Meet, Release, Stop
from dtj_trainer.launch.agent import Agent, LeaveError
from dtj_trainer.launch.backoff import Backoff
from dtj_trainer.launch.board import Board
from dtj_trainer.launch.command import Command
from dtj_trainer.launch.events import ChildEnded, Event, Outcome, Terminate, ZygoteLost
from dtj_trainer.launch.logs import Logs, write_all
from dtj_trainer.launch.meeting import Meeting
from dtj_trainer.launch.probe import VolumeProbe
from dtj_trainer.launch.process import reap_orphans
from dtj_trainer.launch.ranks import Zygote
from dtj_trainer.launch.round import Member, Terms
from dtj_trainer.launch.servers import Servers
from dtj_trainer.launch.settings import Settings
from dtj_trainer.launch.store_link import StoreLink, StoreLostError
from dtj_trainer.launch.termination import describe_failure, write_termination
from dtj_trainer.launch.tools import Tools
from dtj_trainer.launch.volume import VolumeCheck, VolumeNotSharedError

LINGER = 10.0
"""Seconds for somebody to fetch the last report before the pod is gone."""
LAST_WORD = 1.0
"""The same for a pod that leaves, whose replacement waits for its name."""
QUIT_PATIENCE = 30.0
"""Seconds for an incarnation to end: its ranks are killed in a fraction of that, but a hung volume holds a thread for
ever."""
LEAVE_SHARE = 0.15
"""Share of the grace period that is kept for leaving after a save."""


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
        self._board = Board(settings.pod_uid, settings.index, command.run_as, settings.step_timeout)
        self._logs = Logs(write_all(sys.stdout.fileno()), settings.work_dir / "logs" if settings.work_dir else None)
        self._processes = settings.processes or max(1, torch.cuda.device_count())
        self._servers = Servers(settings, self._board, scratch, events.put)
        self._agent: Agent | None = None
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
        while True:
            event = self._events.get()
            code = self._handle(event, zygote)
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
            case Release() if self._agent and event.incarnation == self._board.incarnation:
                self._agent.release(event.round)
            case Terminate():
                self._forget_failure()
                return self._leave(save=True)
            case Stop():
                return self._leave(save=event.save)
            case Outcome() if event.incarnation == self._board.incarnation and event.state:
                return self._conclude(event)
        return None

    def _enter(self, meet: Meet) -> ExitCode | None:
        """Leave the incarnation that we are in, and begin this one, unless a newer one is wanted already."""
        if not self._quit_agent():
            return self._fail(f"the incarnation before {meet.incarnation} has not ended for {QUIT_PATIENCE:g} s")
        if meet.incarnation != self._board.incarnation:
            return None
        self._logs.say(f"incarnation {meet.incarnation}: meets {meet.min_nodes}..{meet.max_nodes} at {meet.store}")
        self._agent = Agent(self._tools, meet.incarnation, self._processes)
        self._thread = threading.Thread(target=self._attend, args=(self._agent, meet), name="agent", daemon=True)
        self._thread.start()
        return None

    def _quit_agent(self) -> bool:
        """Have the agent leave; whether it did."""
        if self._agent and self._thread:
            self._agent.leave()
            self._thread.join(QUIT_PATIENCE)
            if self._thread.is_alive():
                return False
        self._agent = None
        return True

    def _attend(self, agent: Agent, meet: Meet) -> None:
        """One incarnation, in a thread of its own."""
        incarnation = meet.incarnation
        agent.attend(self._meeting(agent, meet))
        try:
            agent.run()
            outcome = Outcome(incarnation, LauncherState.DONE, exit_code=ExitCode.DONE)
        except RendezvousClosedError:
            # We come after the end: a spare, or a replacement that was not needed any more.
            outcome = Outcome(incarnation, LauncherState.DONE, exit_code=ExitCode.DONE)
        except LeaveError:
            outcome = Outcome(incarnation, None)
        except StoreLostError as error:
            outcome = Outcome(incarnation, LauncherState.MEETING, f"{error}; waits for the next meeting")
        except VolumeNotSharedError as error:
            self._board.set(incarnation, volume_shared=False)
            outcome = Outcome(incarnation, LauncherState.FAILED, str(error), ExitCode.VOLUME_NOT_SHARED)
        except RendezvousError as error:
            outcome = Outcome(incarnation, LauncherState.FAILED, str(error))
        except Exception as error:
            outcome = Outcome(incarnation, LauncherState.FAILED, f"{type(error).__name__}: {error}", ExitCode.FAILED)
        self._events.put(outcome)

    def _meeting(self, agent: Agent, meet: Meet) -> Meeting:
        settings = self._settings
        run_id = f"{settings.job_uid}-{meet.incarnation}"
        terms = Terms(
            run_id=run_id,
            min_nodes=meet.min_nodes,
            max_nodes=meet.max_nodes,
            join_timeout=settings.join_timeout,
            last_call=settings.last_call,
            heartbeat=settings.heartbeat,
            heartbeat_misses=settings.heartbeat_misses,
        )
        host, _, port = meet.store.rpartition(":")
        me = Member(
            name=settings.pod_name,
            node=f"{settings.pod_name}/{settings.pod_uid}",
            address=settings.pod_ip,
            port=0,
            ranks=self._processes,
            checked=False,
        )
        return Meeting(terms, lambda: StoreLink(host.strip("[]"), int(port), f"dtj/{run_id}/"), me, agent.pause)

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
        if save and self._agent:
            patience = self._settings.grace * (1 - LEAVE_SHARE)
            id = f"leave-{self._settings.pod_uid}"
            self._servers.request_save(id)
            saved = self._servers.call(self._servers.ranks.saved(id), patience)
            self._say_how_it_leaves(saved)
        self._quit_agent()
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
