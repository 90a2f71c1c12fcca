"""`status.phase`: one word for people. Programs look at the conditions.

Running means training: the first step of the round was reported, or the ranks run where the script reports none.
Whether it will report any is not known before it does, and a script may use `dtj` for its checkpoints alone. So ranks
that have never reported a step count as training, unless one says that it restores, or none has had the time to say so.
To wait longer would be worse than to be wrong: as long as nobody trains, a resize asks for no save.
A phase is left only on evidence: reports that are missing because the operator just started change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from dtj_api.names import LauncherState, Phase, Reason
from dtj_api.wire import Report
from dtj_operator.plan.count.backoff import end_rows
from dtj_operator.plan.count.rounds import broken_rounds, uncounted
from dtj_operator.plan.draft import Draft

FIRST_WORD = 3.0
"""Seconds that ranks have for their first word."""
RESTORES = "restore"
"""The phase that a rank declares while it loads."""


def decide_phase(draft: Draft) -> None:
    """Set the phase of a job that is meant to run."""
    before = draft.status.phase
    phase = _phase(draft)
    draft.set(phase=phase)
    if phase == Phase.RUNNING and before != phase:
        workers = len(draft.status.members)
        draft.tell("Normal", Reason.TRAINING, f"{workers} workers train in incarnation {draft.status.incarnation}")
        wished = draft.spec.launcher.preload is False
        if not wished and any(report.run_as == "subprocess" for report in draft.roster.reports.values()):
            draft.tell(
                "Normal",
                Reason.RUNS_AS_SUBPROCESS,
                "the command is neither `python FILE` nor `python -m MODULE`: it runs as a subprocess, and every "
                "restart imports torch anew",
            )


def _phase(draft: Draft) -> Phase:
    if trains(draft):
        return Phase.RESIZING if draft.status.save is not None else Phase.RUNNING
    if draft.status.phase in (Phase.PENDING, Phase.STARTING, Phase.SUSPENDED):
        return Phase.STARTING if _all_placed(draft) else Phase.PENDING
    if draft.trouble is not None or _interrupted(draft):
        return Phase.RESIZING if draft.status.phase == Phase.RESIZING and draft.trouble is None else Phase.RECOVERING
    return draft.status.phase


def note_trained(draft: Draft) -> None:
    """What takes part is not lost in vain from now on."""
    status = draft.status
    if status.phase == Phase.RUNNING and status.trained != status.incarnation:
        end_rows(draft)
        draft.set(trained=status.incarnation, store=status.store.model_copy(update={"error": "", "create_after": None}))


def trains(draft: Draft) -> bool:
    """Whether the current round of the current incarnation makes steps."""
    members = [index for index in draft.status.members if not draft.roster.is_through(index)]
    reports = draft.roster.reports
    if not members or any(index not in reports for index in members):
        return False
    broken = broken_rounds(draft)
    if any(reports[i].state != LauncherState.TRAINING or reports[i].round in broken for i in members):
        return False
    if _reports_steps(draft, reports):
        return any(report.progress.step is not None for report in reports.values())
    return not _loads(draft, reports)


def _reports_steps(draft: Draft, reports: Mapping[int, Report]) -> bool:
    said = any(report.reports for report in reports.values())
    return said or draft.spec.trainer is not None or draft.status.progress.step is not None


def _loads(draft: Draft, reports: Mapping[int, Report]) -> bool:
    """Of ranks that have never reported a step: whether they certainly make none yet."""
    if any(report.progress.phase == RESTORES for report in reports.values()):
        return True
    if any(report.clock.spoke_at is not None for report in reports.values()):
        return False
    started = [report.clock.started_at or report.clock.formed_at for report in reports.values()]
    last = max((at for at in started if at is not None), default=None)
    # By the pod's clock, which may be off by anything: who started in the future is not waited for.
    if last is None or abs(draft.now - last) >= FIRST_WORD:
        return False
    draft.wake(last + FIRST_WORD)
    return True


def _all_placed(draft: Draft) -> bool:
    return all((pod := draft.roster.pods.get(index)) is not None and bool(pod.node) for index in draft.status.members)


def _interrupted(draft: Draft) -> bool:
    """A report says that this incarnation does not train at present."""
    reports = draft.roster.reports
    not_training = (LauncherState.WAITING, LauncherState.MEETING, LauncherState.STARTING, LauncherState.FAILED)
    return (
        not draft.roster.met or bool(uncounted(draft)) or any(each.state in not_training for each in reports.values())
    )
