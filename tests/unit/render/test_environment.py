"""What the launcher and the ranks are told by the environment of the worker's container."""

from __future__ import annotations

import json
from typing import Any

import pytest
from plan_jobs import UID, a_job, a_template
from worker_pods import env_of, trainer_of, with_container, worker

from dtj_api.names import Env


def test_the_built_in_trainer_gets_its_configuration() -> None:
    pod = worker(a_job().built_in().view())
    assert trainer_of(pod)["command"] == [
        "python",
        "-m",
        "dtj_trainer.launch",
        "--",
        "python",
        "-m",
        "dtj_trainer.train",
    ]
    config = json.loads(env_of(pod)[Env.TRAINER_CONFIG])
    assert config["data"]["split"]["shuffleSplit"] == [0.8, 0.1, 0.1]
    assert config["batchSize"] == 32


@pytest.mark.parametrize(
    ("hang", "value"),
    [({}, "auto"), ({"stepTimeout": "auto"}, "auto"), ({"stepTimeout": "5m"}, "300"), ({"action": "None"}, "none")],
)
def test_how_long_a_step_may_take(hang: dict[str, str], value: str) -> None:
    assert env_of(worker(a_job().spec(failurePolicy={"hang": hang}).view()))[Env.STEP_TIMEOUT] == value


def test_what_is_not_the_default_is_told_to_the_launcher() -> None:
    plain = env_of(worker(a_job().view()))
    assert not {Env.LAUNCHER_PRELOAD, Env.MAX_RESTARTS} & plain.keys()
    told = env_of(worker(a_job().spec(launcher={"preload": False}, failurePolicy={"maxRestarts": 0}).view()))
    assert (told[Env.LAUNCHER_PRELOAD], told[Env.MAX_RESTARTS]) == ("false", "0")


def test_the_environment_of_the_launcher() -> None:
    every = {"steps": 50, "auto": True}
    checkpoint = {"volume": {"claimName": "data"}, "every": every, "keep": 2, "keepEvery": 1000}
    checkpoint |= {"onFailure": "Fail", "memoryEvery": 10}
    rendezvous = {"joinTimeout": "5m", "heartbeat": "1500ms", "heartbeatMisses": 4, "lastCall": "0s"}
    failures = {"backoff": {"initial": "2s", "max": "1m"}}
    job = a_job().spec(checkpoint=checkpoint, rendezvous=rendezvous, failurePolicy=failures)
    job.template(a_template(terminationGracePeriodSeconds=300))
    assert env_of(worker(job.view())) == {
        Env.POD_NAME: {"fieldRef": {"fieldPath": "metadata.name"}},
        Env.POD_UID: {"fieldRef": {"fieldPath": "metadata.uid"}},
        Env.POD_IP: {"fieldRef": {"fieldPath": "status.podIP"}},
        Env.JOB_NAME: "ner",
        Env.JOB_UID: UID,
        Env.INDEX: "2",
        Env.PROCESSES: "1",
        Env.WORK_DIR: f"/dtj/volume/ner-{UID[:8]}",
        Env.KEY_FILE: "/dtj/key/key",
        Env.METRICS_PORT: "9400",
        Env.JOIN_TIMEOUT: "300",
        Env.HEARTBEAT: "1.5",
        Env.HEARTBEAT_MISSES: "4",
        Env.LAST_CALL: "0",
        Env.STEP_TIMEOUT: "auto",
        Env.BACKOFF_INITIAL: "2",
        Env.BACKOFF_MAX: "60",
        Env.GRACE_SECONDS: "300",
        Env.SAVE_EVERY_STEPS: "50",
        Env.SAVE_EVERY_AUTO: "1",
        Env.SAVE_KEEP: "2",
        Env.SAVE_KEEP_EVERY: "1000",
        Env.SAVE_ON_FAILURE: "Fail",
        Env.MEMORY_EVERY_STEPS: "10",
        Env.MEMORY_DIR: "/dev/shm/dtj",
    }


def test_without_a_volume_there_is_no_work_dir() -> None:
    pod = worker(a_job().view())
    assert env_of(pod)[Env.WORK_DIR] == ""
    assert Env.SAVE_KEEP not in env_of(pod)
    assert [each["name"] for each in pod["spec"]["volumes"]] == ["dtj-key", "dtj-shm"]


@pytest.mark.parametrize(
    ("processes", "limits", "expected"),
    [
        ("auto", {}, "1"),
        ("auto", {"nvidia.com/gpu": 8}, "8"),
        ("auto", {"nvidia.com/gpu": "4", "rdma/hca": 1, "cpu": "64"}, "4"),
        ("auto", {"nvidia.com/mig-1g.10gb": 2}, "2"),
        ("auto", {"amd.com/gpu": 3}, "3"),
        ("auto", {"nvidia.com/gpu": 0}, "1"),
        (2, {"nvidia.com/gpu": 8}, "2"),
    ],
)
def test_processes(processes: object, limits: dict[str, Any], expected: str) -> None:
    job = with_container(resources={"limits": limits})
    view = job.view()
    workers = view.spec.workers.model_copy(update={"processes_per_worker": processes})
    pod = worker(job.fields(spec=view.spec.model_copy(update={"workers": workers})).view())
    assert env_of(pod)[Env.PROCESSES] == expected


def test_what_nccl_is_told_where_the_user_is_silent() -> None:
    nccl = {"socketInterface": "eth0", "debug": "INFO", "env": {"NCCL_IB_HCA": "mlx5", "NCCL_ALGO": "Ring"}}
    job = with_container(env=[{"name": "NCCL_ALGO", "value": "Tree"}]).spec(network={"nccl": nccl})
    env = env_of(worker(job.view()))
    assert {name: value for name, value in env.items() if "NCCL" in name or "GLOO" in name} == {
        "NCCL_ALGO": "Tree",
        "NCCL_SOCKET_IFNAME": "eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
        "NCCL_DEBUG": "INFO",
        "NCCL_IB_HCA": "mlx5",
    }
    excluded = a_job().spec(network={"nccl": {"socketInterface": "^docker,lo"}})
    assert "GLOO_SOCKET_IFNAME" not in env_of(worker(excluded.view()))


def test_values_are_not_expanded_by_kubernetes() -> None:
    job = a_job().spec(network={"nccl": {"env": {"NCCL_TOPO_FILE": "$(HOME)/x"}}})
    assert env_of(worker(job.view()))["NCCL_TOPO_FILE"] == "$$(HOME)/x"
