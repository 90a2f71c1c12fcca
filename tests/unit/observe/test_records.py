"""What is kept of pods, nodes and jobs."""

from __future__ import annotations

import pytest
from operator_process import a_job

from dtj_api import bounds, names
from dtj_operator.observe.records import job_record, node_view, pod_view
from dtj_operator.observe.view import STORE_INDEX


def pod(name="ner-worker-0003", labels=None, status=None, **spec):
    metadata = {"name": name, "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels or {}}
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def container(name="trainer", **state):
    return {"name": name, "state": state}


POD_CASES = [
    ("nothing is told yet", pod(), {"phase": "Pending", "ip": "", "ready": False, "terminated": None}),
    ("role from the name", pod(), {"component": "worker", "index": 3}),
    ("store from the name", pod("ner-store"), {"component": "store", "index": STORE_INDEX}),
    (
        "role from the labels",
        pod("x", {names.Label.COMPONENT: "worker", names.Label.INDEX: "5", names.Label.INCARNATION: "7"}),
        {"component": "worker", "index": 5, "incarnation": 7},
    ),
    (
        "numbers that no status could hold",
        pod("ner-" + "9" * 60, {names.Label.INDEX: "9" * 60, names.Label.INCARNATION: str(bounds.COUNT + 1)}),
        {"component": "worker", "index": STORE_INDEX, "incarnation": 0},
    ),
    (
        "the largest ones",
        pod("ner-7", {names.Label.INDEX: "9" * 60, names.Label.INCARNATION: str(bounds.COUNT)}),
        {"index": 7, "incarnation": bounds.COUNT},
    ),
    ("address", pod(status={"phase": "Running", "podIP": "10.0.0.1"}, nodeName="n"), {"ip": "10.0.0.1", "node": "n"}),
    (
        "unschedulable",
        pod(status={"conditions": [{"type": "PodScheduled", "status": "False", "message": "no GPU"}]}),
        {"unschedulable": "no GPU"},
    ),
    (
        "an image that cannot be pulled",
        pod(status={"containerStatuses": [container(waiting={"reason": "ImagePullBackOff", "message": "typo"})]}),
        {"waiting_reason": "ImagePullBackOff", "waiting_message": "typo"},
    ),
    (
        "waiting as every pod does",
        pod(status={"containerStatuses": [container(waiting={"reason": "ContainerCreating"})]}),
        {"waiting_reason": ""},
    ),
    (
        "an init container that fails",
        pod(
            status={
                "initContainerStatuses": [container("init", waiting={"reason": "CrashLoopBackOff"})],
                "containerStatuses": [container(waiting={"reason": "PodInitializing"})],
            }
        ),
        {"waiting_reason": "CrashLoopBackOff"},
    ),
    (
        "deleted with another grace period than its own",
        {
            "metadata": {
                **pod()["metadata"],
                "deletionTimestamp": "2026-01-01T00:01:05Z",
                "deletionGracePeriodSeconds": 5,
            },
            "spec": {"terminationGracePeriodSeconds": 120},
        },
        {"deletion_at": 1767225665.0, "deleted_at": 1767225660.0},
    ),
    (
        "evicted",
        pod(
            status={
                "phase": "Failed",
                "reason": "Evicted",
                "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}],
            }
        ),
        {"reason": "Evicted", "disruption": "EvictionByEvictionAPI"},
    ),
]


@pytest.mark.parametrize(("case", "item", "says"), POD_CASES, ids=lambda each: each if isinstance(each, str) else "")
def test_pod(case, item, says):
    view = pod_view(item)
    assert {name: getattr(view, name) for name in says} == says


def test_how_the_trainer_ended_whatever_the_sidecars_did():
    ended = {"exitCode": 137, "reason": "OOMKilled", "message": "boom", "finishedAt": "2026-01-01T00:00:10Z"}
    status = {"containerStatuses": [container("sidecar", terminated={"exitCode": 0}), container(terminated=ended)]}
    terminated = pod_view(pod(status=status)).terminated
    assert terminated is not None
    assert (terminated.exit_code, terminated.oom_killed, terminated.message) == (137, True, "boom")
    assert terminated.finished_at == 1767225610.0


@pytest.mark.parametrize(
    ("text", "kept"), [("数据集损坏\ufffd", "数据集损坏"), ("\ufffd集损坏", "集损坏"), ("a\ufffdb", "a\ufffdb")]
)
def test_what_a_kubelet_leaves_of_a_character_at_its_cut_is_no_text(text, kept):
    status = {"containerStatuses": [container(terminated={"exitCode": 1, "message": text})]}
    terminated = pod_view(pod(status=status)).terminated
    assert terminated is not None
    assert terminated.message == kept


def test_a_sidecar_that_ended_is_not_the_trainers_end():
    status = {"containerStatuses": [container("sidecar", terminated={"exitCode": 1}), container(running={})]}
    assert pod_view(pod(status=status)).terminated is None


@pytest.mark.parametrize(
    ("status", "changed", "unready_since"),
    [
        pytest.param("False", "2026-01-01T00:00:09Z", None, id="not ready since before its container ran: it starts"),
        pytest.param("False", "2026-01-01T00:00:11Z", 1767225611.0, id="not ready since a moment when it ran"),
        pytest.param("True", "2026-01-01T00:00:11Z", None, id="ready"),
    ],
)
def test_a_pod_that_is_not_ready_any_more_is_told_from_one_that_starts(status, changed, unready_since):
    ready = {"type": "Ready", "status": status, "lastTransitionTime": changed}
    running = container(running={"startedAt": "2026-01-01T00:00:10Z"}) | {"ready": status == "True"}
    view = pod_view(pod(status={"conditions": [ready], "containerStatuses": [running]}))
    assert view.running_since == 1767225610.0
    assert (view.ready, view.unready_since) == (status == "True", unready_since)


def test_a_sidecar_that_is_not_ready_does_not_make_the_trainer_so():
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:20Z"}
    running = container(running={"startedAt": "2026-01-01T00:00:10Z"}) | {"ready": True}
    helpers = [container("prefetch", terminated={"exitCode": 0}), container("exporter", terminated={"exitCode": 3})]
    view = pod_view(pod(status={"conditions": [ready], "containerStatuses": [*helpers, running]}))
    assert (view.ready, view.unready_since, view.terminated) == (True, None, None)


INIT = {"exitCode": 42, "message": "no such bucket: corpora\n", "finishedAt": "2026-01-01T00:00:10Z"}


@pytest.mark.parametrize(
    ("states", "name", "code"),
    [
        pytest.param({}, "", None, id="none"),
        pytest.param({"a": {"waiting": {"reason": "PodInitializing"}}}, "a", None, id="waits"),
        pytest.param({"a": {"running": {}}}, "a", None, id="runs"),
        pytest.param({"a": {"terminated": {"exitCode": 0}}, "b": {"running": {}}}, "b", None, id="the second runs"),
        pytest.param({"a": {"terminated": {"exitCode": 0}}}, "", None, id="all are through"),
        pytest.param({"a": {"terminated": INIT}, "b": {"waiting": {}}}, "a", 42, id="failed"),
        pytest.param({"proxy": {"running": {}}, "b": {"terminated": INIT}}, "b", 42, id="one stays beside the others"),
        pytest.param({"proxy": {"terminated": INIT}}, "", None, id="one that stays has crashed: it is begun anew"),
    ],
)
def test_the_init_container_that_a_pod_waits_for_or_failed_by(states, name, code):
    status = {"initContainerStatuses": [container(each, **state) for each, state in states.items()]}
    view = pod_view(pod(status=status, initContainers=[{"name": "proxy", "restartPolicy": "Always"}, {"name": "a"}]))
    assert view.init == name
    assert (view.init_ended.exit_code if view.init_ended else None) == code


def test_a_heartbeat_of_a_node_changes_nothing():
    def node(heartbeat):
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}
        return {"metadata": {"name": "n"}, "status": {"conditions": [ready]}}

    assert node_view(node("2026-01-01T00:00:00Z")) == node_view(node("2026-01-01T00:05:00Z"))


def test_a_node_that_is_not_ready_says_since_when():
    ready = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    view = node_view({"metadata": {"name": "n"}, "status": {"conditions": [ready]}})
    assert (view.ready, view.not_ready_since) == (False, 1767225600.0)


@pytest.mark.parametrize(("key", "out"), [("node.kubernetes.io/out-of-service", True), ("node.kubernetes.io/x", False)])
def test_a_node_that_somebody_declares_out_of_service(key, out):
    taint = {"key": key, "value": "nodeshutdown", "effect": "NoExecute"}
    assert node_view({"metadata": {"name": "n"}, "spec": {"taints": [taint]}}).out_of_service is out


def job(**changes):
    item = a_job("ner", 2)
    item["metadata"] |= {"namespace": "ml", "uid": "u", "resourceVersion": "5", "generation": 3}
    return item | changes


def test_job():
    record = job_record(job())
    assert (record.namespace, record.name, record.generation, record.resource_version) == ("ml", "ner", 3, "5")
    assert record.spec is not None
    assert record.spec.workers.replicas == 2


@pytest.mark.parametrize("spec", [None, {}, {"workers": {"replicas": "x"}}, [], "text"])
def test_a_spec_that_cannot_be_read_is_said_and_not_raised(spec):
    record = job_record(job(spec=spec))
    assert record.spec is None
    assert record.spec_error.startswith("spec")


def test_a_spec_that_was_not_read_is_told_with_its_figures():
    words = bounds.too_long("spec", 1_400_000, bounds.SPEC_BYTES)
    record = job_record(job(spec={bounds.UNREAD: words, "managedBy": "kueue.x-k8s.io/multikueue"}))
    assert (record.spec, record.spec_error) == (None, words)
    assert record.managed_by == "kueue.x-k8s.io/multikueue"


def nested(levels: int):
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [bounds.DEPTH - 4, bounds.DEPTH - 3, 300, 700])
def test_a_template_is_read_to_its_deepest_level_or_told_how_deep_that_may_be(levels):
    item = job()
    item["spec"]["workers"]["template"]["spec"]["affinity"] = nested(levels)
    record = job_record(item)
    assert (record.spec is not None) is (levels + 4 <= bounds.DEPTH)
    assert record.spec is not None or "more than the 64 that are read" in record.spec_error


def test_a_job_of_another_manager_is_known_even_if_it_cannot_be_read():
    assert job_record(job(spec={"managedBy": "kueue.x-k8s.io/multikueue"})).managed_by == "kueue.x-k8s.io/multikueue"


def test_a_status_of_a_newer_version_is_read():
    record = job_record(job(status={"phase": "Running", "unheardOf": 1}))
    assert record.status.phase == "Running"
