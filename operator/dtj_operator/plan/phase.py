"""`status.phase`: one word for people. Programs look at the conditions.

Running means training: the first step of the round was reported, or the round has formed where the script reports none.
A phase is left only on evidence: reports that are missing because the operator just started change nothing.
"""

from __future__ import annotations

from dtj_api.names import LauncherState, Phase, Reason
from dtj_api.wire import Report

from .draft import Draft
from .rounds import uncounted


def decide_phase(draft: Draft) -> None:
    """Set the phase of a job that is meant to run."""
    before = draft.phase
    phase = _phase(draft)
    draft.set(phase=phase)
    if phase == Phase.RUNNING and before != phase:
        workers = len(draft.status.members)
        draft.tell("Normal", Reason.TRAINING, f"{workers} workers train in incarnation {draft.status.incarnation}")
        if any(report.run_as == "subprocess" for report in draft.reports().values()):
            draft.tell(
                "Normal",
                Reason.RUNS_AS_SUBPROCESS,
                "the command is neither `python FILE` nor `python -m MODULE`: it runs as a subprocess, and every "
                "restart imports torch anew",
            )


def _phase(draft: Draft) -> Phase:
    if trains(draft):
        return Phase.RESIZING if draft.status.save is not None else Phase.RUNNING
    if draft.phase in (Phase.PENDING, Phase.STARTING, Phase.SUSPENDED):
        return Phase.STARTING if _all_placed(draft) else Phase.PENDING
    if draft.trouble is not None or _interrupted(draft):
        return Phase.RESIZING if draft.phase == Phase.RESIZING and draft.trouble is None else Phase.RECOVERING
    return draft.phase


def trains(draft: Draft) -> bool:
    """Whether the current round of the current incarnation makes steps."""
    members = [index for index in draft.status.members if index not in draft.status.finished_members]
    reports = draft.reports()
    if not members or any(index not in reports for index in members):
        return False
    broken = uncounted(draft)
    counted = draft.status.counted
    if counted.incarnation == draft.status.incarnation and counted.round:
        broken.add(counted.round)
    if any(reports[i].state != LauncherState.TRAINING or reports[i].round in broken for i in members):
        return False
    return not _reports_steps(draft, reports) or any(report.progress.step is not None for report in reports.values())


def _reports_steps(draft: Draft, reports: dict[int, Report]) -> bool:
    said = any(report.reports for report in reports.values())
    return said or draft.spec.trainer is not None or draft.status.progress.step is not None


def _all_placed(draft: Draft) -> bool:
    return all((pod := draft.workers.get(index)) is not None and bool(pod.node) for index in draft.status.members)


def _interrupted(draft: Draft) -> bool:
    """A report says that this incarnation does not train at present."""
    reports = draft.reports()
    not_training = (LauncherState.WAITING, LauncherState.MEETING, LauncherState.STARTING, LauncherState.FAILED)
    return not draft.met or bool(uncounted(draft)) or any(each.state in not_training for each in reports.values())
