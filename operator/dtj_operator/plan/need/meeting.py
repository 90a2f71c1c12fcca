"""The incarnation in place: the members are told to meet at the store, under a number that was never used before.

Told is who says that he is elsewhere, so a message that was lost is sent again, one that arrived twice does nothing,
and a launcher that does not answer yet is not talked to. Nobody waits for a heartbeat to expire: those who are blocked
with a dead peer are released at once, also where they are about a save that cannot come any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from dtj_api.names import STORE_PORT, LauncherState, Reason
from dtj_api.wire import Meet, Release, Report, address
from dtj_operator.observe.view import PodView
from dtj_operator.observe.worker import State
from dtj_operator.plan.actions import SendMeet, SendRelease
from dtj_operator.plan.count.interruption import told_to_meet
from dtj_operator.plan.count.rounds import broken_rounds
from dtj_operator.plan.draft import Draft

from .children import ready_to_meet
from .word import highest_round, let_start

_AT_WORK = (LauncherState.TRAINING, LauncherState.DRAINING, LauncherState.DONE)


def meet(draft: Draft) -> None:
    """Send each member of the incarnation to its store, or release those that wait in vain."""
    store = draft.roster.store
    members = [index for index in draft.status.members if not draft.roster.is_through(index)]
    rows = [draft.roster.worker(index) for index in members]
    # Once they are told, one that falls silent keeps nobody else from being told again.
    there = all(row.listens for row in rows) if draft.roster.met else all(row.answers for row in rows)
    if store is None or not draft.roster.store_stands or not there:
        _release_survivors(draft)
        return
    if not draft.roster.met:
        if not ready_to_meet(draft):
            return
        where = {"address": address(store.ip, STORE_PORT), "uid": store.uid}
        draft.set(store=draft.status.store.model_copy(update=where))
        number = draft.status.incarnation
        told_to_meet(draft)
        draft.tell("Normal", Reason.NEW_INCARNATION, f"incarnation {number}: {len(members)} workers meet")
    highest = highest_round(draft)
    message = Meet(
        incarnation=draft.status.incarnation,
        min_nodes=draft.status.min_members,
        max_nodes=len(draft.status.members),
        store=draft.status.store.address,
        rounds=None if draft.spec.failure_policy.max_restarts else highest,
    )
    elsewhere = _elsewhere(draft, members)
    at_work = _at_work(draft) if elsewhere else Counter()
    for index, report in elsewhere.items():
        if report.error and _has_lost_a_peer(report, at_work):
            # Without its store it has its ranks save before they move, and these wait for a peer that is gone. Released
            # first, it is told where to meet when they have ended.
            _release(draft, index, Release(report.incarnation, report.round))
            continue
        pod = draft.roster.pods[index]
        draft.act(SendMeet(pod.name, pod.uid, pod.ip, message))
    for index in let_start(draft, highest):
        # Whatever maxRestarts is by now: launchers keep to the one that they began with.
        pod = draft.roster.pods[index]
        draft.act(SendMeet(pod.name, pod.uid, pod.ip, replace(message, rounds=highest)))
    _release_peers(draft)


def _release_survivors(draft: Draft) -> None:
    """A peer's pod is gone: whoever still trains with it is blocked, and saves seconds by leaving now."""
    at_work = _at_work(draft)
    for index, report in _elsewhere(draft, draft.status.members).items():
        if _has_lost_a_peer(report, at_work):
            _release(draft, index, Release(report.incarnation, report.round))


def _elsewhere(draft: Draft, members: Iterable[int]) -> dict[int, Report]:
    """Reports of those that are not in this incarnation yet, by index."""
    told = ((index, draft.roster.said.get(index)) for index in members)
    number = draft.status.incarnation
    return {index: report for index, report in told if report is not None and report.incarnation < number}


def _has_lost_a_peer(report: Report, at_work: Counter[tuple[int, int]]) -> bool:
    """Ranks train, or save before they leave, in a round that is not whole any more.

    Where the store alone is lost a round is whole, and its ranks go on without it.
    """
    if report.state not in (LauncherState.TRAINING, LauncherState.DRAINING) or not report.round:
        return False
    return at_work[report.incarnation, report.round] < report.world_size


def _at_work(draft: Draft) -> Counter[tuple[int, int]]:
    """Ranks at work in each round, by incarnation and round.

    Whoever leaves saves with the others first, and whoever was not heard of yet may be in any.
    """
    processes = draft.spec.workers.processes
    rounds: Counter[tuple[int, int]] = Counter()
    for index, report in draft.roster.said.items():
        if report.state in _AT_WORK and draft.roster.worker(index).lives:
            rounds[report.incarnation, report.round] += processes
    for pod in draft.roster.pods.values():
        if _may_be_at_work(draft, pod):
            for incarnation, number in rounds:
                rounds[incarnation, number] += processes if pod.incarnation <= incarnation else 0
    return rounds


def _may_be_at_work(draft: Draft, pod: PodView) -> bool:
    """Nobody knows yet what it does, as after a start of the operator: it may well be a peer."""
    row = draft.roster.worker(pod.index)
    leaves = row.state is State.LEAVING and row.report is None and pod.running_since is not None
    return row.unheard or (leaves and pod.uid not in draft.view.unanswered)


def _release_peers(draft: Draft) -> None:
    """A peer's process is gone: those of its round that did not notice yet are released."""
    broken = broken_rounds(draft)
    if not broken:
        return
    for index, report in draft.roster.reports.items():
        failed = any((each.incarnation, each.round) == (report.incarnation, report.round) for each in report.failures)
        if report.state == LauncherState.TRAINING and report.round in broken and not failed:
            _release(draft, index, Release(report.incarnation, report.round))


def _release(draft: Draft, index: int, message: Release) -> None:
    row = draft.roster.worker(index)
    if row.hears:
        pod = draft.roster.pods[index]
        draft.act(SendRelease(pod.name, pod.uid, pod.ip, message))
