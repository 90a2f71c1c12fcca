"""A small world that obeys plans: pods start, fail and vanish, launchers meet and train, the operator dies.

It keeps books of its own, so that a test compares what the status says with what really happened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from dtj_api import names
from dtj_api.names import Component, LauncherState
from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus
from dtj_api.wire import STORE_PROTOCOL, Failure, Meet, Progress, Report, Stop
from dtj_operator.observe.view import Children, Cluster, DryRun, JobView, NodeView, PodView, Reported, Terminated
from dtj_operator.plan import (
    Action,
    CreateClaim,
    CreateKey,
    CreatePolicy,
    CreateService,
    CreateStore,
    CreateWorker,
    DeleteJob,
    DeletePod,
    DryRunWorker,
    Plan,
    SendMeet,
    SendRelease,
    SendSave,
    SendStop,
    plan,
)


@dataclass
class Launcher:
    """PID 1 of a worker."""

    incarnation: int = 0
    round: int = 0
    state: str = LauncherState.WAITING
    meet: Meet | None = None
    failures: list[Failure] = field(default_factory=list)
    last_save: str = ""
    broken: bool = False
    """Its ranks have ended and no new round has formed."""
    error: str = ""
    """Why it takes part in nothing until it is told to meet again."""
    size: int = 0
    """Pods of its round."""
    held: int = 0
    """The same, while it waits for the word to start."""
    up_at: float = 0.0
    """When its container started; it answers a moment later."""
    other_key: bool = False
    """It takes nothing that is signed with the job's key."""


def at(launcher: Launcher) -> tuple[int, int]:
    """Incarnation and round."""
    return launcher.incarnation, launcher.round


def would_answer(world: World, uid: str) -> bool:
    """The operator would get an answer from this launcher."""
    launcher = world.launchers.get(uid)
    return launcher is not None and uid not in world.deaf and world._runs(uid) and launcher.up_at < world.now


class World:
    """One job and its cluster. `steps` is the work to do; the checkpoint survives pods."""

    def __init__(self, spec: dict[str, Any], *, steps: int = 6) -> None:
        self.now = 1_800_000_000.0
        self.spec = spec
        self.generation = 1
        self.status = JobStatus()
        self.version = 1
        self.pods: dict[str, PodView] = {}
        self.launchers: dict[str, Launcher] = {}
        self.went_through: Counter[tuple[int, int]] = Counter()
        """Incarnation and round to pods that were through with it and have gone."""
        self.nodes: dict[str, NodeView] = {}
        self.kubelets_gone: set[str] = set()
        """Nodes that are not ready though all that is on them runs."""
        self.away_elsewhere = 0
        """Of eight nodes on which the job has nothing, those that are not ready."""
        self.nodes_told_at: float | None = None
        """When the node watch broke; None: it is well."""
        self.children: set[type[Action]] = set()
        self.dry_run: DryRun | None = None
        self.steps = steps
        self.step = 0
        self.job_deleted = False
        self.reporting = True
        """The operator reaches the launchers."""
        self.deaf: set[str] = set()
        """Launchers that answer nobody, though their pods look well and their ranks train."""
        self.schedulable = True
        self.image_gone = False
        """A kubelet gives the pod an address, and then says that it cannot pull the image."""
        self.init_slow = False
        self.init_fails = 0
        """Exit code of the init container; 0: it is through in a moment."""
        self.evicted: set[int] = set()
        """Workers whose pods are evicted in the moment after they began to run."""
        self.other_key: set[int] = set()
        """Workers whose launchers come up with another key than the Secret has."""
        self.hung: set[str] = set()
        """Stores that answer nobody, though their pods look well."""
        self.cut_off: set[str] = set()
        """Workers whose own way to the store is broken."""
        self.late: set[str] = set()
        """Launchers that come to a meeting after its last call, once they are taken out of here."""
        self.created: list[tuple[int, str]] = []
        self.trained: set[str] = set()
        """Pods whose ranks have run in a round."""
        self.deletes: list[tuple[DeletePod, JobStatus, PodView]] = []
        self.meets: list[tuple[str, Meet]] = []
        self.starts: list[tuple[str, int, int]] = []
        """Each start of a launcher's ranks: pod uid, incarnation, round."""
        self.plans: list[Plan] = []
        self._serial = 0
        self._heard: dict[str, Reported] = {}
        self._unanswered: dict[str, float] = {}
        self._refusing: set[str] = set()
        self._unseen: dict[str, int] = {}
        """Exit codes that no kubelet has told yet."""

    # --- the operator -----------------------------------------------------------------------------------------------

    def view(self) -> JobView:
        for uid in self.launchers:
            self._ask(uid)
        made = self.children
        return JobView(
            now=self.now,
            name="ner",
            namespace="ml",
            uid="job-uid",
            generation=self.generation,
            resource_version=str(self.version),
            created=1_800_000_000.0,
            spec=JobSpec.model_validate(self.spec),
            managed_by=names.OPERATOR,
            status=self.status,
            pods=tuple(sorted(self.pods.values(), key=lambda pod: pod.name)),
            children=Children(CreateService in made, CreateKey in made, CreatePolicy in made, CreateClaim in made),
            nodes=tuple(replace(node, seen_at=node.not_ready_since) for node in self._nodes()),
            cluster=Cluster(
                nodes=10,
                away=self.away_elsewhere + sum(not node.ready for node in self.nodes.values()),
                told_at=self.now if self.nodes_told_at is None else self.nodes_told_at,
            ),
            reports=dict(self._heard),
            unanswered=dict(self._unanswered),
            refusing=tuple(sorted(self._refusing & self.pods.keys())),
            dry_run=self.dry_run,
        )

    def reconcile(self, *, conflict: bool = False, crash_after: int | None = None) -> Plan:
        """One reconcile. `conflict`: the status write is refused. `crash_after`: the operator dies after so many acts,
        counting the status write as the first."""
        made = plan(self.view())
        self.plans.append(made)
        if conflict and made.write:
            return made
        if crash_after == 0:
            self._forget()
            return made
        if made.write:
            self.status = JobStatus.model_validate_json(made.status.model_dump_json(by_alias=True))
            self.version += 1
        for place, action in enumerate(made.actions, start=1):
            if crash_after is not None and place >= crash_after:
                self._forget()
                break
            self._perform(action)
        return made

    def _forget(self) -> None:
        """Another operator knows what is stored and nothing else."""
        self.dry_run = None
        self._heard.clear()
        self._unanswered.clear()
        self._refusing.clear()

    def _ask(self, uid: str) -> None:
        """What the operator hears of a launcher before it plans."""
        if not self._runs(uid) and self._answers(self.pods[uid]):
            return  # It has ended, and what it said last is kept.
        if self.reporting and uid not in self.deaf and self._runs(uid) and self.launchers[uid].up_at < self.now:
            self._heard[uid] = Reported(self.now, self._report(uid))
            self._unanswered.pop(uid, None)
        else:
            self._unanswered.setdefault(uid, self.now)

    def _nodes(self) -> list[NodeView]:
        """As the operator knows them: launchers of other jobs answer it while it reaches any."""
        heard = self.now if self.reporting else None
        return [node if node.ready else replace(node, heard_elsewhere=heard) for node in self.nodes.values()]

    def _perform(self, action: Action) -> None:
        if isinstance(action, SendMeet | SendSave | SendRelease | SendStop) and action.uid in self._unanswered:
            return  # It arrives nowhere.
        if isinstance(action, SendMeet | SendSave | SendRelease | SendStop) and self._refuses(action.uid):
            return
        match action:
            case CreateWorker():
                self._create(action.name, Component.WORKER, action.index, action.incarnation)
            case CreateStore():
                self._create(action.name, Component.STORE, -1, action.incarnation)
            case DeletePod():
                self._delete(action)
            case DryRunWorker():
                self.dry_run = DryRun(action.template_hash, at=self.now)
            case SendMeet():
                self._meet(action)
            case SendSave():
                if (launcher := self.launchers.get(action.uid)) and launcher.state == LauncherState.TRAINING:
                    launcher.last_save = action.message.id
            case SendRelease():
                launcher = self.launchers.get(action.uid)
                at = (action.message.incarnation, action.message.round)
                if launcher and (launcher.incarnation, launcher.round) == at:
                    self._end_ranks(launcher)
            case SendStop():
                self._stop(action.uid, action.message)
            case DeleteJob():
                self.job_deleted = True
            case _:
                self.children.add(type(action))

    def _refuses(self, uid: str) -> bool:
        """A launcher answers a message with 403, which the operator remembers."""
        refuses = uid in self.launchers and self.launchers[uid].other_key
        if refuses:
            self._refusing.add(uid)
        return refuses

    def _create(self, name: str, component: Component, index: int, incarnation: int) -> None:
        if any(pod.name == name for pod in self.pods.values()):
            return  # The API server answers AlreadyExists.
        self._serial += 1
        uid = f"u{self._serial}"
        self.pods[uid] = PodView(name, uid, component, index, incarnation, "Pending", created=self.now)
        if component == Component.WORKER:
            self.created.append((index, uid))

    def _delete(self, action: DeletePod) -> None:
        pod = self.pods.get(action.uid)
        if pod is None:
            return
        assert not (action.with_node and self.reporting and would_answer(self, pod.uid)), action
        self.deletes.append((action, self.status, pod))
        if action.grace == 0 or pod.phase in ("Succeeded", "Failed", "Pending"):
            self.vanish(pod.uid)
        else:
            self.pods[pod.uid] = replace(pod, deletion_at=self.now + 120, deleted_at=self.now)

    def _meet(self, action: SendMeet) -> None:
        launcher = self.launchers.get(action.uid)
        if launcher is None or action.message.incarnation < launcher.incarnation:
            return
        self.meets.append((action.uid, action.message))
        if action.message.incarnation > launcher.incarnation:
            launcher.incarnation = action.message.incarnation
            launcher.round = 0
            launcher.state = LauncherState.MEETING
            launcher.meet = action.message
            launcher.broken = False
            launcher.error = ""
            launcher.held = 0
            launcher.failures = launcher.failures[-20:]
        elif launcher.meet is not None and action.message.rounds is not None:
            rounds = max(action.message.rounds, launcher.meet.rounds or 0)
            launcher.meet = replace(launcher.meet, rounds=rounds)
            if launcher.held and launcher.round <= rounds:
                self._start_ranks(action.uid)

    def _stop(self, uid: str, message: Stop) -> None:
        launcher = self.launchers.get(uid)
        if launcher and launcher.incarnation == message.incarnation and self._runs(uid):
            through = launcher.state == LauncherState.DONE
            code = names.ExitCode.DONE if through else names.ExitCode.DRAINED
            if self._kubelet(self.pods[uid]):
                self.end_pod(uid, code)
            else:
                self._unseen[uid] = code

    # --- the cluster ------------------------------------------------------------------------------------------------

    def tick(self, seconds: float = 1.0) -> None:
        """Let the cluster do what it does by itself."""
        self.now += seconds
        for uid, pod in list(self.pods.items()):
            if uid in self._unseen and self._kubelet(pod):
                self.end_pod(uid, self._unseen.pop(uid))
            elif pod.deletion_at is not None and self._kubelet(pod):
                if pod.component == Component.STORE and self._stays(pod):
                    continue
                if pod.phase == "Running" and pod.terminated is None:
                    self.end_pod(uid, names.ExitCode.DRAINED)
                else:
                    self.vanish(uid)
            elif pod.phase == "Pending" and not pod.node:
                if self.schedulable:
                    node = "node-a" if self._serial % 2 else "node-b"
                    self.pods[uid] = replace(pod, ip=f"10.0.0.{uid[1:]}", node=node, init="fetch-data")
            elif self._kubelet(pod):
                self._start(uid)
        self._lose_store()
        self._form_rounds()
        self._train()

    def _start(self, uid: str) -> None:
        """A kubelet's next step with a pod: it is ready well after it has an address."""
        pod = self.pods[uid]
        if pod.phase == "Running" and pod.index in self.evicted and pod.terminated is None:
            self.end_pod(uid, 137, reason="Evicted", message="The node was low on resource: memory.")
        elif pod.phase == "Running":
            self.pods[uid] = replace(pod, ready=pod.terminated is None)
        elif pod.phase == "Pending" and self.image_gone:
            self.pods[uid] = replace(pod, waiting_reason="ImagePullBackOff", waiting_message="manifest unknown")
        elif pod.phase == "Pending" and self.init_fails and pod.component == Component.WORKER:
            ended = Terminated(self.init_fails, message="no such bucket", finished_at=self.now)
            self.pods[uid] = replace(pod, phase="Failed", init_ended=ended)
        elif pod.phase == "Pending" and not (self.init_slow and pod.component == Component.WORKER):
            began: dict[str, Any] = {"init": "", "waiting_reason": "", "waiting_message": "", "running_since": self.now}
            self.pods[uid] = replace(pod, phase="Running", **began)
            if pod.component == Component.WORKER:
                self.launchers[uid] = Launcher(up_at=self.now, other_key=pod.index in self.other_key)

    def _lose_store(self) -> None:
        """Who was in a round and gets no answer says so, and trains on; who only comes goes on trying."""
        for uid, each in self.launchers.items():
            meets = each.state in (LauncherState.MEETING, LauncherState.TRAINING) and each.round > 0
            if meets and self._runs(uid) and not self._reaches_store(uid):
                each.error = "the store has not answered for 5 s"

    def _reaches_store(self, uid: str) -> bool:
        there = any(pod.component == Component.STORE and self._runs(store) for store, pod in self.pods.items())
        return there and uid not in self.cut_off and not any(store in self.pods for store in self.hung)

    def _stays(self, store: PodView) -> bool:
        """A store that is told to end serves those who are connected, for as long as it is let."""
        connected = any(self._runs(uid) and each.meet is not None for uid, each in self.launchers.items())
        return connected and self.now < (store.deletion_at or 0.0)

    def _kubelet(self, pod: PodView) -> bool:
        """Its kubelet does what is asked of it."""
        node = self.nodes.get(pod.node)
        return node is None or node.ready

    def _answers(self, pod: PodView) -> bool:
        """Its processes run."""
        return (self._kubelet(pod) or pod.node in self.kubelets_gone) and pod.uid not in self._unseen

    def _form_rounds(self) -> None:
        waiting = [
            (uid, each)
            for uid, each in self.launchers.items()
            if each.state == LauncherState.MEETING and not each.error and self._runs(uid) and self._reaches_store(uid)
            if uid not in self.late
        ]
        waiting += self._open_again({each.incarnation for _, each in waiting})
        for incarnation in {each.incarnation for _, each in waiting}:
            group = [(uid, each) for uid, each in waiting if each.incarnation == incarnation]
            meet = group[0][1].meet
            store = next((pod for pod in self.pods.values() if pod.component == Component.STORE), None)
            at = f"{store.ip}:{names.STORE_PORT}" if store and store.phase == "Running" else ""
            late = sum(self.launchers[uid].incarnation == incarnation for uid in self.late if uid in self.launchers)
            if meet is None or meet.store != at or len(group) < max(meet.min_nodes, meet.max_nodes - late):
                continue
            number = max(each.round for _, each in group) + 1
            for uid, each in group:
                each.round, each.state, each.broken = number, LauncherState.STARTING, False
                each.size = len(group)
                if each.meet is None or each.meet.rounds is None or number <= each.meet.rounds:
                    self._start_ranks(uid)
                else:
                    each.held = len(group)

    def _open_again(self, incarnations: set[int]) -> list[tuple[str, Launcher]]:
        """A round that is not full ends for who comes later: those who are in it."""
        found = [
            (uid, each)
            for uid, each in self.launchers.items()
            if each.state in (LauncherState.STARTING, LauncherState.TRAINING) and each.incarnation in incarnations
            if each.meet is not None and each.size < each.meet.max_nodes and self._runs(uid)
        ]
        for _, each in found:
            each.state, each.held, each.broken = LauncherState.MEETING, 0, True
        return found

    def _start_ranks(self, uid: str) -> None:
        each = self.launchers[uid]
        each.state, each.held = LauncherState.TRAINING, 0
        self.trained.add(uid)
        self.starts.append((uid, each.incarnation, each.round))

    def _train(self) -> None:
        groups: dict[tuple[int, int], list[str]] = {}
        for uid, each in self.launchers.items():
            if each.state == LauncherState.TRAINING:
                groups.setdefault((each.incarnation, each.round), []).append(uid)
        for group, uids in groups.items():
            size = self.launchers[uids[0]].size
            through = [
                each
                for each in self.launchers.values()
                if (each.incarnation, each.round) == group and each.state == LauncherState.DONE
            ]
            there = len([uid for uid in uids if self._runs(uid)]) + len(through) + self.went_through[group]
            if there < size:
                continue
            self.step += 1
            if self.step >= self.steps:
                # One after the other: the last ones still evaluate and export.
                self.launchers[uids[0]].state = LauncherState.DONE

    def _runs(self, uid: str) -> bool:
        pod = self.pods.get(uid)
        return pod is not None and pod.phase == "Running" and pod.terminated is None and self._answers(pod)

    def _end_ranks(self, launcher: Launcher) -> None:
        """The ranks end; the agent looks for its peers under the same incarnation."""
        if launcher.state == LauncherState.TRAINING:
            launcher.state, launcher.broken = LauncherState.MEETING, True

    def crash_rank(self, uid: str, *, exit_code: int = -9, user_error: bool = False, alone: bool = False) -> bool:
        """A rank of a training worker dies; its peers follow with errors of their own. False: nobody trains there.

        Args:
            alone: the peers hear of the next round first, and end their ranks before these notice anything.
        """
        launcher = self.launchers.get(uid)
        if launcher is None or launcher.state != LauncherState.TRAINING or not self._runs(uid):
            return False
        at = (launcher.incarnation, launcher.round)
        for peer, each in self.launchers.items():
            if (each.incarnation, each.round) != at or not self._runs(peer):
                continue
            if each.state == LauncherState.DONE:
                each.state = LauncherState.MEETING  # It comes back for another round.
                continue
            mine = peer == uid
            delay = 0.0 if mine else 0.1
            code = exit_code if mine else 1
            error = user_error and mine
            text = "ValueError: boom" if error else "connection reset by peer"
            if mine or not alone:
                each.failures.append(Failure(*at, 0, 0, self.now + delay, code, text, "", error))
            self._end_ranks(each)
        return True

    def end_pod(self, uid: str, code: int, **fields: Any) -> None:
        """The main container of a pod exits."""
        if uid in self.launchers:
            self._ask(uid)
        ended = Terminated(code, finished_at=self.now)
        fields = {"phase": "Succeeded" if code == 0 else "Failed", "running_since": None, "ready": False, **fields}
        self.pods[uid] = replace(self.pods[uid], terminated=ended, **fields)

    def exit_when_done(self) -> None:
        """Launchers leave when all of their round are through."""
        for uid, each in list(self.launchers.items()):
            peers = [other for other in self.launchers.values() if (other.incarnation, other.round) == at(each)]
            if all(peer.state == LauncherState.DONE for peer in peers) and self._runs(uid):
                self.end_pod(uid, 0)

    def vanish(self, uid: str) -> None:
        """The object of a pod goes, and its process with it."""
        self.pods.pop(uid, None)
        self._unseen.pop(uid, None)
        self._heard.pop(uid, None)
        self._unanswered.pop(uid, None)
        launcher = self.launchers.pop(uid, None)
        if launcher is not None and launcher.state == LauncherState.DONE:
            self.went_through[launcher.incarnation, launcher.round] += 1

    def _report(self, uid: str) -> Report:
        each = self.launchers[uid]
        group = sorted(
            self.pods[peer].index for peer, other in self.launchers.items() if other.incarnation == each.incarnation
        )
        index = self.pods[uid].index
        return Report(
            store_protocol=STORE_PROTOCOL,
            pod_uid=uid,
            index=index,
            state=each.state,
            incarnation=each.incarnation,
            round=each.round,
            world_size=len(group),
            group_rank=group.index(index) if each.round else -1,
            failures=tuple(each.failures),
            progress=Progress(step=self.step, total_steps=self.steps, updated_at=self.now, loss=1.0),
            last_save=each.last_save,
            error=each.error,
            held=each.held,
            reports=True,
        )

    # --- running --------------------------------------------------------------------------------------------------

    def run(self, until: Any = None, *, seconds: int = 200) -> None:
        """Let time pass, reconciling each second, until the job is done or `until()` holds."""
        for _ in range(seconds):
            self.reconcile()
            if until() if until is not None else self.status.done:
                return
            self.tick()
