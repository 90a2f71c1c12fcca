"""The demo's job: made to fit, replaced, followed."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from dtj_api.names import Condition, Phase, Reason
from dtj_cluster.errors import ClusterError
from dtj_cluster.progress import Step
from dtj_demo import job

JOB = {
    "apiVersion": "dtj.dev/v1alpha1",
    "kind": "DistributedTrainingJob",
    "metadata": {"name": "ner"},
    "spec": {
        "workers": {
            "replicas": 3,
            "template": {
                "spec": {
                    "containers": [
                        {"name": "sidecar", "image": "its/own:1"},
                        {"name": "trainer", "image": "of/the:example", "command": ["python", "x.py"]},
                    ]
                }
            },
        },
        "checkpoint": {"volume": {"claimName": "of-the-example"}, "every": {"steps": 20}},
    },
}


def stored(**status: object) -> dict:
    found = copy.deepcopy(JOB)
    found["metadata"] = {"name": "ner", "uid": "0123456789abcdef"}
    return {**found, "status": status}


def condition(kind: str, value: str, reason: str, message: str) -> dict:
    when = "2026-01-31T12:00:00Z"
    return {"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": when}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(JOB))
    return path


def test_the_manifest_gets_claim_image_and_namespace_and_keeps_the_rest(file, place, fake_kubectl):
    made = job.manifest(file, place(fake_kubectl()))
    assert made["metadata"] == {"name": "ner", "namespace": "dtj-demo"}
    assert made["spec"]["checkpoint"] == {"volume": {"claimName": "the-claim"}, "every": {"steps": 20}}
    containers = made["spec"]["workers"]["template"]["spec"]["containers"]
    assert [each["image"] for each in containers] == ["its/own:1", "localhost/dtj-trainer:dev"]


@pytest.mark.parametrize("text", ["", "kind: ConfigMap\n", yaml.safe_dump_all([JOB, JOB])])
def test_a_file_without_exactly_one_job_is_refused(tmp_path, place, fake_kubectl, text):
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ClusterError, match="exactly one"):
        job.manifest(path, place(fake_kubectl()))


def test_a_first_job_is_only_applied(place, fake_kubectl, show):
    kubectl = fake_kubectl(objects=[None])
    job.start(JOB, place(kubectl), show)
    assert kubectl.applied == [JOB]
    assert not [said for said in kubectl.said if said[0] == "delete"]


def test_a_job_of_an_earlier_run_makes_room_and_is_named(place, fake_kubectl, show, capsys):
    kubectl = fake_kubectl(objects=[stored(phase="Failed")], answers={"get": "pod/ner-worker-0000"})
    job.start(JOB, place(kubectl), show)
    verbs = [said[0] for said in kubectl.said]
    assert verbs == ["get", "delete", "get", "wait", "apply"]
    assert "dtj-demo/ner of an earlier run (Failed)" in capsys.readouterr().err


def test_follow_ends_with_success_and_tells_each_change_once(place, fake_kubectl, show, capsys, monkeypatch):
    monkeypatch.setattr(job, "POLL_SECONDS", 0)
    running = stored(phase="Running", progress={"step": 5})
    kubectl = fake_kubectl(objects=[stored(), stored(), running, running, stored(phase="Succeeded")])
    step = Step("job")
    finished = job.follow("ner", place(kubectl), show, step)
    assert finished.directory == "ner-01234567"
    assert finished.status.phase is Phase.SUCCEEDED
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["status"]["phase"] for event in events] == ["Pending", "Running", "Succeeded"]


def test_a_failed_job_is_told_with_its_condition_and_the_last_log_lines(place, fake_kubectl, show):
    failed = condition(Condition.FAILED, "True", Reason.BUDGET_SPENT, "11 restarts in 1h: ValueError: no")
    kubectl = fake_kubectl(objects=[stored(phase="Failed", conditions=[failed])], answers={"logs": "the last words"})
    with pytest.raises(ClusterError) as raised:
        job.follow("ner", place(kubectl), show, Step("job"))
    assert "BudgetSpent: 11 restarts in 1h: ValueError: no" in str(raised.value)
    assert "the last words" in str(raised.value)


def test_logs_that_cannot_be_read_do_not_hide_the_failure(place, fake_kubectl, show):
    kubectl = fake_kubectl(objects=[stored(phase="Failed")], answers={"logs": "error: no pods"})
    with pytest.raises(ClusterError, match=r"has Failed(.|\n)*error: no pods"):
        job.follow("ner", place(kubectl), show, Step("job"))


def test_a_job_to_which_nothing_happens_is_given_up_with_what_it_waits_for(place, fake_kubectl, show, monkeypatch):
    monkeypatch.setattr(job, "POLL_SECONDS", 0)
    monkeypatch.setattr(job, "PATIENCE_SECONDS", -1)
    waiting = condition(Condition.PROGRESSING, "False", Reason.UNSCHEDULABLE, "0/2 nodes are available")
    with pytest.raises(ClusterError, match="0/2 nodes are available"):
        job.follow("ner", place(fake_kubectl(objects=[stored(conditions=[waiting])])), show, Step("job"))


def test_a_job_that_is_deleted_meanwhile_ends_the_demo(place, fake_kubectl, show):
    with pytest.raises(ClusterError, match="was deleted"):
        job.follow("ner", place(fake_kubectl(objects=[None])), show, Step("job"))
