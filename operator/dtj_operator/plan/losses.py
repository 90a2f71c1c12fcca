"""A pod is lost: counted once under its own cause, and the others meet anew.

Evidence is an object that failed, the absence of one that the status counts on, or that members cannot reach the store.
All are used up in the write that counts them: the uid goes to `countedPods` while the object is there, and leaves
`pods`. Only then may it be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dtj_api import names
from dtj_api.names import Cause, Reason
from dtj_api.status import KnownPod
from dtj_operator.observe.view import STORE_INDEX, PodView

from .draft import Draft
from .ends import End, away, ended, ended_well, patience
from .failure_policy import Fault, count, note_fatal, pause
from .recovery import note_failed_pod
from .rounds import count_unexplained, uncounted, write_off
from .unreached import in_a_row, unreached, without_store


@dataclass(frozen=True)
class _Loss:
    index: int
    name: str
    end: End
    incarnation: int
    """The incarnation that the pod was created in."""
    node: str
    """Where it was; empty when nobody knows."""
    breaks_ranks: bool = True
    """Ranks lost a peer by it: what they said of that is a consequence."""


def count_losses(draft: Draft) -> None:
    """Count the pods that are lost since the last status; begin a new incarnation when the current one has met."""
    missed = _call_back_finished(draft)
    for node in draft.view.nodes:
        if not node.ready and node.not_ready_since is not None and away(node, draft.now) < draft.tolerate:
            draft.wake(node.not_ready_since + draft.tolerate)
    _watch_silent(draft)
    needed = {STORE_INDEX, *draft.status.members}
    losses = sorted([*_lost_workers(draft), *_lost_store(draft)], key=lambda loss: (loss.end.at, loss.index))
    breaking = [loss for loss in losses if loss.breaks_ranks and loss.index in needed]
    if breaking:
        count_unexplained(draft, {loss.index for loss in losses}, _first(breaking))
    for place, loss in enumerate(losses):
        # What ends together ends by the first; what ended with an incarnation that is over is its consequence.
        aftermath = not draft.met and loss.incarnation < draft.status.incarnation
        message = f"pod {loss.name} is lost ({loss.end.cause}): {loss.end.message}"
        fault = Fault(loss.end.cause, message, loss.end.began, loss.node, loss.end.status, loss.end.message)
        counted = count(draft, fault, first=place == 0 and not aftermath, stops=loss.index in needed)
        pause(draft, loss.end, charged=counted.charged)
        if counted.charged and loss.index in draft.status.members:
            note_failed_pod(draft)
        note_fatal(draft, loss.end, loss.name)
        reason = Reason.STORE_LOST if loss.index == STORE_INDEX else Reason.WORKER_LOST
        draft.tell("Warning", reason, message)
        draft.trouble = (reason, message)
    lost = {loss.index for loss in losses}
    replaced = _given_up(draft)
    if draft.met and (lost | missed | replaced) & needed:
        draft.begin_incarnation(draft.next_members())
    if breaking or replaced:
        write_off(draft)


def _first(losses: list[_Loss]) -> float | None:
    """When the first one was lost; None where that is known of one of them only by its absence."""
    known = [loss.end.at for loss in losses if loss.end.timed]
    return min(known) if len(known) == len(losses) else None


def _watch_silent(draft: Draft) -> None:
    """A pod that is silent changes nothing that would bring it up again."""
    for pod in draft.workers.values():
        until = draft.silent_until(pod)
        if until is None and pod.unready_since is not None:
            until = draft.now + patience(draft.tolerate)
        if until is not None and until > draft.now:
            draft.wake(until)


def _given_up(draft: Draft) -> set[int]:
    """Members whose pods live and are to be replaced."""
    used = set(draft.status.counted_pods)
    pods = {index: draft.workers.get(index) for index in draft.status.members} if draft.met else {}
    return {index for index, pod in pods.items() if pod is not None and pod.uid in used and not ended(pod)}


def _call_back_finished(draft: Draft) -> set[int]:
    """Members that were through and have gone, once a peer failed: no round forms without them."""
    finished = draft.status.finished_members
    if not finished or not uncounted(draft):
        return set()
    there = tuple(index for index in finished if draft.reachable(index))
    draft.set(finished_members=there)
    return {*finished} - {*there}


def _lost_workers(draft: Draft) -> list[_Loss]:
    losses: list[_Loss] = []
    used: list[str] = []
    keep: dict[int, KnownPod] = {}
    finished = set(draft.status.finished_members)
    counts = {*draft.wanted, *draft.status.members}
    draft.let_go()
    for known in draft.status.pods:
        if known.index in finished:
            keep[known.index] = known
            continue
        pod = draft.pod(known.uid)
        if pod is not None and not _is_over(draft, pod):
            keep[known.index] = known
            continue
        used.append(known.uid)
        end = _gone(draft) if pod is None else draft.end_of(pod)
        if end is not None:
            name, node = names.worker_name(draft.view.name, known.index), pod.node if pod is not None else ""
            losses.append(_Loss(known.index, name, end, known.incarnation, node))
    passed = {*draft.status.counted_pods, *used}
    for index, pod in draft.workers.items():
        if pod.uid in passed or index not in counts or index in keep:
            continue
        if not _is_over(draft, pod):
            keep[index] = KnownPod(index=index, uid=pod.uid, incarnation=pod.incarnation)
            continue
        used.append(pod.uid)
        if end := draft.end_of(pod):
            losses.append(_Loss(index, pod.name, end, pod.incarnation, pod.node))
    draft.count_on(keep)
    draft.use_up(used)
    return losses


def _lost_store(draft: Draft) -> list[_Loss]:
    known, store = draft.status.store.uid, draft.store
    name = names.store_name(draft.view.name)
    losses: list[_Loss] = []
    pod = draft.pod(known) if known else None
    if known and (end := _end_of_store(draft, pod)) is not None:
        made_in = pod.incarnation if pod is not None else draft.status.incarnation
        # Ranks do not talk to the store; but a worker that cannot reach it ends its own.
        runs = pod is not None and not _store_is_over(draft, pod)
        node = pod.node if pod is not None else ""
        end = replace(end, cause=Cause.STORE_LOST)
        losses.append(_Loss(STORE_INDEX, name, end, made_in, node, breaks_ranks=runs))
        draft.use_up([known])
        _know_store(draft, "")
    if store is not None and store.uid != known and store.uid not in draft.status.counted_pods:
        if _store_is_over(draft, store):
            draft.use_up([store.uid])
        else:
            _know_store(draft, store.uid)
    return losses


def _end_of_store(draft: Draft, pod: PodView | None) -> End | None:
    if pod is None:
        return _gone(draft)
    if _store_is_over(draft, pod):
        return draft.end_of(pod) or End(Cause.STORE_LOST, draft.now, "it ended")
    if draft.met and (why := unreached(draft)) is not None:
        again = in_a_row(draft) + 1
        draft.set(store=draft.status.store.model_copy(update={"unreached": again}))
        # The ranks trained on until their launchers gave it up.
        left = [each.clock.left_at for each in without_store(draft).values() if each.clock.left_at is not None]
        return End(Cause.STORE_LOST, draft.now, why, since=min(left, default=None))
    return None


def _know_store(draft: Draft, uid: str) -> None:
    draft.set(store=draft.status.store.model_copy(update={"uid": uid}))


def _is_over(draft: Draft, pod: PodView) -> bool:
    return ended_well(pod) or draft.end_of(pod) is not None


def _store_is_over(draft: Draft, pod: PodView) -> bool:
    return ended(pod) or draft.end_of(pod) is not None


def _gone(draft: Draft) -> End:
    return End(Cause.GONE, draft.now, "its object vanished before anybody saw it end")
