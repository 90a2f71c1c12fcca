"""The incarnation in place: the members are told to meet at the store, under a number that was never used before.

Told is who says that he is elsewhere, so a message that was lost is sent again, one that arrived twice does nothing,
and a launcher that does not answer yet is not talked to. Nobody waits for a heartbeat to expire: those who are blocked
with a dead peer are released at once.
"""

from __future__ import annotations

from dtj_api.names import STORE_PORT, LauncherState, Reason
from dtj_api.wire import Meet, Release

from .actions import SendMeet, SendRelease
from .children import ready_to_meet
from .draft import Draft
from .recovery import told_to_meet
from .rounds import uncounted

AGAIN = 1.0
"""Seconds after which a worker that has not answered is told once more."""


def meet(draft: Draft) -> None:
    """Send each member of the incarnation to its store, or release those that wait in vain."""
    store = draft.store
    members = [index for index in draft.status.members if index not in draft.status.finished_members]
    here = store is not None and draft.alive(store) and bool(store.ip) and (store.ready or draft.met)
    if store is None or not here or not all(draft.reachable(index) for index in members):
        _release_survivors(draft)
        return
    if not draft.met:
        if not ready_to_meet(draft):
            return
        draft.set(store=draft.status.store.model_copy(update={"address": _address(store.ip), "uid": store.uid}))
        number = draft.status.incarnation
        told_to_meet(draft)
        draft.tell("Normal", Reason.NEW_INCARNATION, f"incarnation {number}: {len(members)} workers meet")
    message = Meet(
        incarnation=draft.status.incarnation,
        min_nodes=draft.status.min_members,
        max_nodes=len(draft.status.members),
        store=draft.status.store.address,
    )
    for index in members:
        report = draft.report(index)
        if report is not None and report.incarnation < draft.status.incarnation:
            pod = draft.workers[index]
            draft.act(SendMeet(pod.name, pod.uid, pod.ip, message))
            draft.wake(draft.now + AGAIN)
    _release_peers(draft)


def _release_survivors(draft: Draft) -> None:
    """A peer's pod is gone: whoever still trains with it is blocked, and saves seconds by leaving now."""
    for index in draft.status.members:
        report = draft.report(index)
        blocked = report is not None and report.state == LauncherState.TRAINING and report.round > 0
        if blocked and report is not None and report.incarnation < draft.status.incarnation:
            _release(draft, index, Release(report.incarnation, report.round))


def _release_peers(draft: Draft) -> None:
    """A peer's process is gone: those of its round that did not notice yet are released."""
    broken = uncounted(draft)
    counted = draft.status.counted
    if counted.incarnation == draft.status.incarnation and counted.round:
        broken.add(counted.round)
    for index, report in draft.reports().items():
        failed = any((each.incarnation, each.round) == (report.incarnation, report.round) for each in report.failures)
        if report.state == LauncherState.TRAINING and report.round in broken and not failed:
            _release(draft, index, Release(report.incarnation, report.round))


def _release(draft: Draft, index: int, message: Release) -> None:
    if draft.reachable(index):
        pod = draft.workers[index]
        draft.act(SendRelease(pod.name, pod.uid, pod.ip, message))
        draft.wake(draft.now + AGAIN)


def _address(ip: str) -> str:
    return f"[{ip}]:{STORE_PORT}" if ":" in ip else f"{ip}:{STORE_PORT}"
