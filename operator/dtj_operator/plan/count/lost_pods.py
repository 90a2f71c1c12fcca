"""A pod is lost: counted once under its own cause, and the others meet anew.

Evidence is an object that failed, the absence of one that the status counts on, or that members cannot reach the store.
All are used up in the write that counts them: the uid goes to `countedPods` while the object is there, and leaves
`pods`. Only then may it be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dtj_api import names
from dtj_api.known_pods import KnownPod
from dtj_api.names import Cause, Reason
from dtj_api.scalars import Timestamp
from dtj_operator.observe.ends import End, ended
from dtj_operator.observe.view import STORE_INDEX, PodView
from dtj_operator.observe.worker import State
from dtj_operator.plan.draft import Draft

from .backoff import InVain, count_in_vain, hold_back, in_vain, pause, stood
from .hopeless import note_end_of_pod
from .interruption import note_failed_pod
from .restarts import Fault, count
from .rounds import broken_rounds, count_unexplained, write_off
from .unreached_store import ended_ranks, in_a_row, unreached

_TEXT = 4096
TOGETHER = 2.0
"""Seconds within which the pods of a node are told to leave that is drained."""


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
    in_vain: InVain | None = None
    """Unless it has trained."""
    stood: bool = False
    """It was there for longer than any pause."""


def count_losses(draft: Draft) -> None:
    """Count the pods that are lost since the last status; begin a new incarnation when the current one has met."""
    missed = _call_back_finished(draft)
    for node in draft.seen.node_losses.values():
        if node.until is not None:
            draft.wake(node.until)
    _watch_workers(draft)
    needed = {STORE_INDEX, *draft.status.members}
    workers, exited = _lost_workers(draft)
    losses = sorted([*workers, *_lost_store(draft)], key=lambda loss: (loss.end.at, loss.index))
    breaking = [loss for loss in losses if loss.breaks_ranks and loss.index in needed]
    if breaking:
        count_unexplained(draft, {loss.index for loss in losses}, _first(breaking))
    vain = [(loss.in_vain, loss.stood) for loss in losses if loss.in_vain] + [(each, False) for each in exited]
    count_in_vain(draft, [each for each, _ in vain], anew=all(long for _, long in vain))
    for place, loss in enumerate(losses):
        # What ends together ends by the first; what ended with an incarnation that is over is its consequence.
        aftermath = not draft.roster.met and loss.incarnation < draft.status.incarnation
        message = f"pod {loss.name} is lost ({loss.end.cause}): {loss.end.message}"
        fault = Fault(loss.end.cause, message, loss.end.began, loss.node, loss.end.status, loss.end.message)
        counted = count(draft, fault, first=place == 0 and not aftermath, stops=loss.index in needed)
        until = pause(draft, loss.in_vain, charged=counted.charged, ran=loss.end.ran)
        if loss.index == STORE_INDEX:
            _note_end_of_store(draft, loss.end.message, until)
        else:
            hold_back(draft, loss.index, until)
        if counted.charged and draft.roster.is_member(loss.index):
            note_failed_pod(draft)
        note_end_of_pod(draft, loss.end, loss.name)
        reason = Reason.STORE_LOST if loss.index == STORE_INDEX else Reason.WORKER_LOST
        draft.warn(reason, message)
    for each in exited:
        hold_back(draft, each.index, pause(draft, each))
        text = f"pod {names.worker_name(draft.view.name, each.index)} exited 0 before it trained: another one is made"
        draft.tell("Warning", Reason.WORKER_LOST, text)
    lost = {loss.index for loss in losses}
    replaced = _replaced(draft)
    if draft.roster.met and (gone := (lost | missed | replaced) & needed):
        # Where the store alone is lost nobody else is disturbed, nor sent away: they save together before they move.
        stay = gone == {STORE_INDEX} and not breaking
        draft.begin_incarnation(draft.status.members if stay else draft.roster.next_members())
    if breaking or replaced:
        write_off(draft)


def _first(losses: list[_Loss]) -> float | None:
    """When the first one was lost; None where that is known of one of them only by its absence."""
    known = [loss.end.at for loss in losses if loss.end.timed]
    return min(known) if len(known) == len(losses) else None


def _watch_workers(draft: Draft) -> None:
    """A pod that is silent changes nothing that would bring it up again."""
    for index in draft.roster.pods:
        until = draft.roster.worker(index).until
        if until is not None and until > draft.now:
            draft.wake(until)


def _replaced(draft: Draft) -> set[int]:
    """Members whose pods live and are to be replaced."""
    pods = {index: draft.roster.pods.get(index) for index in draft.status.members} if draft.roster.met else {}
    return {index for index, pod in pods.items() if pod and draft.roster.is_used_up(pod.uid) and not ended(pod)}


def _call_back_finished(draft: Draft) -> set[int]:
    """Members that were through and have gone, once a peer failed: no round forms without them."""
    finished = draft.status.finished_members
    # They were through with the newest round: what failed before it does not concern them.
    newest = max((report.round for report in draft.roster.reports.values()), default=0)
    if not finished or newest not in broken_rounds(draft):
        return set()
    there = tuple(index for index in finished if draft.roster.worker(index).listens)
    draft.set(finished_members=there)
    return {*finished} - {*there}


def _lost_workers(draft: Draft) -> tuple[list[_Loss], list[InVain]]:
    """The workers that are lost, and those whose containers exited 0 though they never trained."""
    losses: list[_Loss] = []
    exited: list[InVain] = []
    used: list[str] = []
    keep: dict[int, KnownPod] = {}
    draft.let_go()
    for known in draft.status.pods:
        if draft.roster.is_through(known.index):
            keep[known.index] = known
            continue
        pod = draft.seen.by_uid.get(known.uid)
        if pod is not None and not draft.seen.over(pod):
            keep[known.index] = known
            continue
        used.append(known.uid)
        end = _gone(draft) if pod is None else draft.seen.end_of(pod)
        if end is not None:
            losses.append(_loss(draft, known, pod, end))
        elif lost := in_vain(draft, known.index, known.incarnation):
            exited.append(lost)
    passed = {*draft.status.counted_pods, *used}
    for index, pod in draft.roster.pods.items():
        if index in keep or pod.uid in passed or not draft.roster.is_needed(index):
            continue
        made = KnownPod(index=index, uid=pod.uid, incarnation=pod.incarnation)
        if not draft.seen.over(pod):
            keep[index] = made
            continue
        used.append(pod.uid)
        if end := draft.seen.end_of(pod):
            losses.append(_loss(draft, made, pod, end))
        elif lost := in_vain(draft, index, pod.incarnation):
            exited.append(lost)
    draft.count_on(keep)
    draft.use_up(used)
    return losses, exited


def _loss(draft: Draft, known: KnownPod, pod: PodView | None, end: End) -> _Loss:
    name, node = names.worker_name(draft.view.name, known.index), pod.node if pod is not None else ""
    lost = in_vain(draft, known.index, known.incarnation)
    return _Loss(known.index, name, end, known.incarnation, node, in_vain=lost, stood=stood(draft, pod))


def _lost_store(draft: Draft) -> list[_Loss]:
    known, store = draft.status.store.uid, draft.roster.store
    name = names.store_name(draft.view.name)
    losses: list[_Loss] = []
    pod = draft.seen.by_uid.get(known) if known else None
    if known and (end := _end_of_store(draft, pod)) is not None:
        made_in = pod.incarnation if pod is not None else draft.status.incarnation
        # Ranks do not talk to the store; but a worker that loses it while it meets has none.
        breaks = pod is not None and not draft.seen.over(pod) and bool(ended_ranks(draft))
        node = pod.node if pod is not None else ""
        end = replace(end, cause=Cause.STORE_LOST)
        lost = in_vain(draft, STORE_INDEX, made_in)
        losses.append(_Loss(STORE_INDEX, name, end, made_in, node, breaks_ranks=breaks, in_vain=lost))
        draft.use_up([known])
        _know_store(draft, "")
    if store is not None and store.uid != known and not draft.roster.is_used_up(store.uid):
        if draft.seen.over(store):
            _pass_over(draft, store)
        else:
            _know_store(draft, store.uid)
    return losses


def _end_of_store(draft: Draft, pod: PodView | None) -> End | None:
    if pod is None:
        return _gone(draft)
    if draft.seen.over(pod):
        return draft.seen.end_of(pod) or End(Cause.STORE_LOST, draft.now, "it ended")
    if _leaves_alone(draft, pod):
        return End(Cause.STORE_LOST, draft.now, "somebody deletes it, and no worker leaves with it any more")
    if draft.roster.met and (why := unreached(draft)) is not None:
        again = in_a_row(draft) + 1
        draft.set(store=draft.status.store.model_copy(update={"unreached": again}))
        left = [each.clock.left_at for each in ended_ranks(draft) if each.clock.left_at is not None]
        return End(Cause.STORE_LOST, draft.now, why, since=min(left, default=None))
    return None


def _leaves_alone(draft: Draft, store: PodView) -> bool:
    """Whether it only stays because launchers are connected: they can meet at another one at once.

    It stays for workers that leave with it, as where a node is drained, until they have saved.
    """
    if store.deleted_at is None:
        return False
    until = store.deleted_at + TOGETHER
    if draft.now < until:
        draft.wake(until)
        return False
    return all(draft.seen.row(pod).state is not State.LEAVING for pod in draft.roster.pods.values())


def _pass_over(draft: Draft, store: PodView) -> None:
    """A store that ended before the job counted on it: no loss, and no reason to make one after the other."""
    draft.use_up([store.uid])
    end = draft.seen.end_of(store) or End(Cause.STORE_LOST, draft.now, "it ended")
    if lost := in_vain(draft, STORE_INDEX, store.incarnation):
        count_in_vain(draft, [lost])
    _note_end_of_store(draft, end.message, pause(draft, lost, ran=end.ran))
    draft.tell("Warning", Reason.STORE_LOST, f"pod {store.name} ended before anybody met there: {end.message}")


def _note_end_of_store(draft: Draft, words: str, until: Timestamp | None) -> None:
    changes = {"error": words[-_TEXT:], "create_after": until}
    draft.set(store=draft.status.store.model_copy(update=changes))


def _know_store(draft: Draft, uid: str) -> None:
    draft.set(store=draft.status.store.model_copy(update={"uid": uid}))


def _gone(draft: Draft) -> End:
    return End(Cause.GONE, draft.now, "its object vanished before anybody saw it end")
