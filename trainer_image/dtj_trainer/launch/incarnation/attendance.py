"""One incarnation from its meeting to its end: where this pod meets the others, and what is said of how it ended."""

from __future__ import annotations

from collections.abc import Callable

from torch.distributed.elastic.rendezvous.api import RendezvousClosedError, RendezvousError

from dtj_api.names import ExitCode, LauncherState
from dtj_api.wire import Meet
from dtj_trainer.launch.events import Outcome
from dtj_trainer.launch.incarnation.agent import Agent, LeaveError
from dtj_trainer.launch.meeting.meeting import Meeting
from dtj_trainer.launch.meeting.round import Member, Terms
from dtj_trainer.launch.progress.board import Board
from dtj_trainer.launch.settings import BadConfigError, Settings
from dtj_trainer.launch.store.link import StoreLink, StoreLostError
from dtj_trainer.launch.volume.shared import VolumeNotSharedError


def attend(agent: Agent, meeting: Meeting, board: Board) -> Outcome:
    """Run an agent to its end, in a thread of its own; what came of it.

    Args:
        agent: of the incarnation.
        meeting: where it meets the others.
        board: is told where the volume is not shared.
    """
    incarnation = agent.incarnation
    agent.attend(meeting)
    try:
        agent.run()
        return Outcome(incarnation, LauncherState.DONE, exit_code=ExitCode.DONE)
    except RendezvousClosedError:
        # We come after the end: a spare, or a replacement that was not needed any more.
        return Outcome(incarnation, LauncherState.DONE, exit_code=ExitCode.DONE)
    except LeaveError:
        return Outcome(incarnation, None)
    except StoreLostError as error:
        return Outcome(incarnation, LauncherState.MEETING, f"{error}; waits for the next meeting")
    except VolumeNotSharedError as error:
        board.set(incarnation, volume_shared=False)
        return Outcome(incarnation, LauncherState.FAILED, str(error), ExitCode.VOLUME_NOT_SHARED)
    except BadConfigError as error:
        return Outcome(incarnation, LauncherState.FAILED, str(error), ExitCode.BAD_CONFIG)
    except RendezvousError as error:
        return Outcome(incarnation, LauncherState.FAILED, str(error))
    except Exception as error:
        return Outcome(incarnation, LauncherState.FAILED, f"{type(error).__name__}: {error}", ExitCode.FAILED)


def meeting_of(settings: Settings, meet: Meet, processes: int, pause: Callable[[float], None]) -> Meeting:
    """This pod's part in the meeting that a message calls.

    Args:
        settings: of the launcher.
        meet: the message.
        processes: ranks of this pod.
        pause: waits so many seconds, or raises when the launcher is wanted elsewhere.
    """
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
        ranks=processes,
        checked=False,
    )
    return Meeting(terms, lambda: StoreLink(host.strip("[]"), int(port), meet.incarnation, settings.key), me, pause)
