"""Builders of views: `a_job().replicas(3).running().view()` reads as the situation that a test is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self, TypeVar

from dtj_api import names
from dtj_api.known_pods import KnownPod
from dtj_api.names import Component, LauncherState
from dtj_api.scalars import Timestamp
from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus, RoundCursor, StoreStatus
from dtj_api.wire import STORE_PROTOCOL, Failure, Progress, Report
from dtj_operator.observe.view import (
    STORE_INDEX,
    Children,
    Cluster,
    DryRun,
    JobView,
    NodeView,
    PodView,
    Reported,
    Terminated,
)
from dtj_operator.plan import Action, DeletePod, Plan, template_hash

A = TypeVar("A", bound=Action)
NOW = 1_800_000_000.0
NAME, NAMESPACE, UID = "ner", "ml", "11111111-2222-3333-4444-555555555555"

TRAINER = {
    "task": "ner",
    "model": {"path": "model", "package": "some_package"},
    "data": {"file": "a.txt", "split": {"shuffleSplit": [0.8, 0.1, 0.1]}},
}


def a_template(**pod: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", "image": "train:1", "command": ["python", "train.py"]}], **pod}}


def a_spec(**fields: Any) -> dict[str, Any]:
    workers = {"template": a_template(), **fields.pop("workers", {})}
    return {"workers": workers, **fields}


def a_pod(index: int, *, uid: str = "", incarnation: int = 1, **fields: Any) -> PodView:
    """A worker's pod that runs (or, with STORE_INDEX, the store's)."""
    store = index == STORE_INDEX
    pod = PodView(
        name=names.store_name(NAME) if store else names.worker_name(NAME, index),
        uid=uid or (f"store-{incarnation}" if store else f"pod-{index}-{incarnation}"),
        component=Component.STORE if store else Component.WORKER,
        index=index,
        incarnation=incarnation,
        phase="Running",
        created=NOW - 100,
        ip=f"10.0.{0 if store else 1}.{max(index, 0)}",
        node="node-b" if index % 2 == 1 and not store else "node-a",
        ready=True,
        running_since=NOW - 90,
    )
    return replace(pod, **fields)


NOT_UP: dict[str, Any] = {"phase": "Pending", "ready": False, "running_since": None}
"""A pod whose container does not run. Its kubelet has given it an address all the same, as soon as it had a node."""
NO_NODE: dict[str, Any] = {**NOT_UP, "ip": "", "node": ""}


def failed(pod: PodView, code: int = 1, message: str = "", *, at: float = NOW - 1, **fields: Any) -> PodView:
    ended = Terminated(code, oom_killed=fields.pop("oom", False), message=message, finished_at=at)
    phase = "Succeeded" if code == 0 else "Failed"
    return replace(pod, phase=phase, terminated=ended, ready=False, running_since=None, **fields)


def a_report(
    pod: PodView, *, incarnation: int = 1, round_: int = 1, state: str = LauncherState.TRAINING, **fields: Any
) -> Report:
    progress = fields.pop("progress", Progress(step=10, total_steps=100, loss=0.5, updated_at=NOW - 1))
    return Report(
        pod_uid=pod.uid,
        index=pod.index,
        state=state,
        incarnation=incarnation,
        round=round_,
        world_size=fields.pop("world_size", 3),
        group_rank=fields.pop("group_rank", pod.index),
        progress=progress,
        reports=fields.pop("reports", True),
        store_protocol=fields.pop("store_protocol", STORE_PROTOCOL),
        **fields,
    )


def a_failure(round_: int = 1, *, incarnation: int = 1, rank: int = 0, **fields: Any) -> Failure:
    return Failure(
        incarnation=incarnation,
        round=round_,
        rank=rank,
        local_rank=0,
        at=fields.pop("at", NOW - 2),
        exit_code=fields.pop("exit_code", 1),
        message=fields.pop("message", ""),
        log_tail=fields.pop("log_tail", ""),
        user_error=fields.pop("user_error", False),
        step=fields.pop("step", None),
        hang=fields.pop("hang", False),
        pod=fields.pop("pod", ""),
        pod_uid=fields.pop("pod_uid", ""),
        of_volume=fields.pop("of_volume", False),
        if_repeated=fields.pop("if_repeated", ""),
    )


class Job:
    """A view in the making; each verb returns the builder."""

    def __init__(self) -> None:
        self._spec: dict[str, Any] = a_spec()
        self._status = JobStatus()
        self._pods: dict[str, PodView] = {}
        self._reports: dict[str, Reported] = {}
        self._fields: dict[str, Any] = {}

    def replicas(self, number: int, *, least: int | None = None) -> Self:
        self._spec["workers"]["replicas"] = number
        if least is not None:
            self._spec["workers"]["minReplicas"] = least
        return self

    def spec(self, **fields: Any) -> Self:
        self._spec.update(fields)
        return self

    def spec_workers(self, **fields: Any) -> Self:
        """Fields of spec.workers as the manifest names them."""
        self._spec["workers"].update(fields)
        return self

    def template(self, template: dict[str, Any]) -> Self:
        self._spec["workers"]["template"] = template
        return self

    def built_in(self) -> Self:
        """The built-in trainer runs, in place of a script of the user's own."""
        template = a_template()
        del template["spec"]["containers"][0]["command"]
        return self.template(template).spec(trainer=TRAINER)

    def status(self, **fields: Any) -> Self:
        self._status = self._status.model_copy(update=fields)
        return self

    def stored(self, status: JobStatus) -> Self:
        self._status = status
        return self

    def pod(self, pod: PodView, report: Report | None = None) -> Self:
        self._pods[pod.name] = pod
        if report is not None:
            self._reports[pod.uid] = Reported(NOW, report)
        return self

    def stands_ready(self, pod: PodView) -> Self:
        """A worker whose launcher answers and has not met."""
        return self.pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING, group_rank=-1))

    def not_up(self, index: int, **fields: Any) -> Self:
        """A worker whose container does not run; so its launcher has never answered."""
        self.change(index, **{**NOT_UP, **fields})
        self._reports.pop(self._pods[names.worker_name(NAME, index)].uid, None)
        return self

    def without(self, index: int) -> Self:
        name = names.store_name(NAME) if index == STORE_INDEX else names.worker_name(NAME, index)
        gone = self._pods.pop(name)
        self._reports.pop(gone.uid, None)
        return self

    def change(self, index: int, **fields: Any) -> Self:
        """Change fields of a pod."""
        name = names.store_name(NAME) if index == STORE_INDEX else names.worker_name(NAME, index)
        self._pods[name] = replace(self._pods[name], **fields)
        return self

    def end(self, index: int, code: int = 1, message: str = "", **fields: Any) -> Self:
        name = names.store_name(NAME) if index == STORE_INDEX else names.worker_name(NAME, index)
        self._pods[name] = failed(self._pods[name], code, message, **fields)
        return self

    def says(self, index: int, **fields: Any) -> Self:
        """Change fields of a worker's report."""
        uid = self._pods[names.worker_name(NAME, index)].uid
        self._reports[uid] = Reported(NOW, replace(self._reports[uid].report, **fields))
        return self

    def silent(self) -> Self:
        self._reports.clear()
        return self

    def fields(self, **fields: Any) -> Self:
        self._fields.update(fields)
        return self

    def admitted(self) -> Self:
        """The API server took the dry run."""
        return self.fields(dry_run=DryRun(template_hash(self.read_spec()), at=NOW - 1))

    def started(self, *, incarnation: int = 1) -> Self:
        """Not suspended since a while, admitted, its pods still to come."""
        count = self._spec["workers"].get("replicas", 1)
        self.fields(children=Children(service=True, key=True, policy=True, claim=True))
        return self.status(
            incarnation=incarnation,
            incarnation_at=Timestamp(NOW - 100),
            oldest_incarnation=1,
            members=tuple(range(count)),
            min_members=count,
            start_time=Timestamp(NOW - 100),
            resumed_at=Timestamp(NOW - 100),
            template_hash=template_hash(self.read_spec()),
            counted=RoundCursor(incarnation=incarnation, round=0),
            updated_at=Timestamp(NOW - 60),
        )

    def up(self, *, incarnation: int = 1) -> Self:
        """All pods run and stand ready; nobody has met."""
        self.started(incarnation=incarnation)
        count = self._spec["workers"].get("replicas", 1)
        for index in range(count):
            self.stands_ready(a_pod(index, incarnation=incarnation))
        store = a_pod(STORE_INDEX, incarnation=incarnation)
        self.pod(store)
        known = tuple(
            KnownPod(index=pod.index, uid=pod.uid, incarnation=incarnation)
            for pod in self._pods.values()
            if pod.component == Component.WORKER
        )
        return self.status(pods=known, store=StoreStatus(uid=store.uid), phase=names.Phase.STARTING)

    def running(self, *, incarnation: int = 1, round_: int = 1) -> Self:
        """All pods train."""
        self.up(incarnation=incarnation)
        for pod in list(self._pods.values()):
            if pod.component == Component.WORKER:
                self.pod(pod, a_report(pod, incarnation=incarnation, round_=round_))
        store = self._pods[names.store_name(NAME)]
        self.status(store=StoreStatus(address=f"{store.ip}:{names.STORE_PORT}", uid=store.uid))
        return self.status(phase=names.Phase.RUNNING)

    def node(self, name: str, **fields: Any) -> Self:
        """One node. Of one that is not ready its launchers are as silent, and launchers elsewhere answer."""
        nodes = {each.name: each for each in self._fields.get("nodes", ())}
        fields = {"ready": True, **fields}
        if not fields["ready"]:
            since = fields.get("not_ready_since")
            fields = {"seen_at": since, "heard_elsewhere": NOW, **fields}
            silent = {pod.uid: since for pod in self._pods.values() if pod.node == name}
            self.fields(unanswered={**self._fields.get("unanswered", {}), **silent})
        nodes[name] = NodeView(name, **fields)
        return self.fields(nodes=tuple(nodes.values()))

    def read_spec(self) -> JobSpec:
        return JobSpec.model_validate(self._spec)

    def view(self, now: float = NOW) -> JobView:
        fields: dict[str, Any] = {
            "now": now,
            "name": NAME,
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": 1,
            "resource_version": "7",
            "created": NOW - 200,
            "spec": self.read_spec(),
            "managed_by": self._spec.get("managedBy", names.OPERATOR),
            "status": self._status,
            "pods": tuple(self._pods[name] for name in sorted(self._pods)),
            "reports": dict(self._reports),
            "cluster": Cluster(nodes=10, away=1, told_at=now),
            **self._fields,
        }
        return JobView(**fields)


def of(made: Plan, kind: type[A]) -> list[A]:
    """The plan's actions of one kind."""
    return [action for action in made.actions if isinstance(action, kind)]


def deleted(made: Plan) -> list[str]:
    """Uids of the pods that the plan deletes."""
    return [action.uid for action in of(made, DeletePod)]


def a_job() -> Job:
    return Job()
