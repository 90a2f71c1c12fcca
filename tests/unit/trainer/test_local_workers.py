"""What `dtj run` gives the launchers of one machine: GPUs of their own, and what the operator would tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from plan_jobs import a_job, a_template

from dtj_api.base import ManifestError, read
from dtj_api.names import Env
from dtj_api.spec import JobSpec
from dtj_operator.render.environment import environment as of_operator
from dtj_trainer.cli import run as module
from dtj_trainer.cli.environment import environment
from dtj_trainer.cli.gpus import Share, share_out, visible
from dtj_trainer.launch.local import run as local

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[3] / "examples" / "ner.yaml"


@pytest.mark.parametrize(
    ("count", "setting", "gpus"),
    [
        (0, None, []),
        (3, None, ["0", "1", "2"]),
        (2, "5,7", ["5", "7"]),
        (2, " 5, GPU-ab ", ["5", "GPU-ab"]),
        # CUDA stops at the first one that is not there.
        (1, "5,-1,7", ["5"]),
        (0, "", []),
        (0, "3,3", []),
    ],
)
def test_the_gpus_that_are_seen_have_the_names_that_the_user_gave(
    count: int, setting: str | None, gpus: list[str]
) -> None:
    env = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}
    assert visible(lambda: count, env) == gpus


@pytest.mark.parametrize(
    ("gpus", "wanted", "fewest", "processes", "devices", "ranks", "says"),
    [
        ("", 3, 2, None, [], 1, ""),
        ("", 3, 2, 4, [], 4, ""),
        ("0", 1, 1, None, ["0"], 1, ""),
        ("0 1 2", 3, 2, None, ["0", "1", "2"], 1, ""),
        ("5 GPU-a 7 8", 2, 2, None, ["5,GPU-a", "7,8"], 2, ""),
        ("0 1", 3, 2, None, ["0", "1"], 1, "found 2 GPUs: 2 workers are started instead of 3"),
        ("0 1 2 3 4 5 6 7", 3, 2, None, ["0,1", "2,3", "4,5"], 2, "found 8 GPUs: 2 are not used"),
        ("0 1 2 3", 1, 1, 2, ["0,1"], 2, "found 4 GPUs: 2 are not used"),
        ("0 1 2", 1, 1, 2, ["0,1"], 2, "found 3 GPUs: 1 is not used"),
        ("0 1 2 3 4", 3, 1, 2, ["0,1", "2,3"], 2, "found 5 GPUs: 2 workers are started instead of 3, 1 is not used"),
    ],
)
def test_each_worker_gets_gpus_of_its_own(
    gpus: str, wanted: int, fewest: int, processes: int | None, devices: list[str], ranks: int, says: str
) -> None:
    share = share_out(gpus.split(), wanted, fewest, processes)
    assert share == Share(len(devices) or wanted, ranks, tuple(devices), share.notice)
    assert share.notice.startswith(says)
    assert bool(share.notice) is bool(says)


@pytest.mark.parametrize(
    ("gpus", "wanted", "fewest", "processes", "says"),
    [
        ("0", 3, 2, None, "found 1 GPU; 2 workers with 1 rank each need 2.*give --workers 1, or"),
        ("0 1 2", 2, 2, 2, "found 3 GPUs; 2 workers with 2 ranks each need 4.*give --workers 1, or"),
        ("0 1", 1, 1, 4, "found 2 GPUs; 1 worker with 4 ranks needs 4.*give --workers 1 --processes-per-worker 2, or"),
    ],
)
def test_too_few_gpus_are_told_with_what_to_do(
    gpus: str, wanted: int, fewest: int, processes: int | None, says: str
) -> None:
    with pytest.raises(ManifestError, match=f"spec.workers: {says} hide .*CUDA_VISIBLE_DEVICES="):
        share_out(gpus.split(), wanted, fewest, processes)


class Started(Exception):
    """The job would run now."""


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Any, ...]]:
    """`begin(gpus, workers=...)`: what `dtj run examples/ner.yaml` would start where so many GPUs are."""

    def stop(command: Sequence[str], *wanted: Any, devices: Sequence[str], **_: Any) -> int:
        raise Started(*wanted[:2], list(devices))

    monkeypatch.setattr(local, "run", stop)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def begin(gpus: int, workers: int | None = None, processes: int | None = None) -> tuple[Any, ...]:
        with pytest.raises(Started) as started:
            module.run(EXAMPLE, workers, processes, tmp_path / "out", False, device_count=lambda: gpus)
        return started.value.args

    return begin


def test_the_example_runs_with_the_gpus_that_are_there(
    begin: Callable[..., tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert begin(0) == (3, 1, [])
    assert begin(0, processes=2) == (3, 2, [])
    assert begin(4, workers=2) == (2, 2, ["0,1", "2,3"])
    assert begin(1, workers=1) == (1, 1, ["0"])
    assert "GPU" not in capsys.readouterr().err
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    assert begin(2) == (2, 1, ["6", "7"])
    assert "dtj: found 2 GPUs: 2 workers are started instead of 3" in capsys.readouterr().err
    with pytest.raises(ManifestError, match="found 1 GPU; 2 workers"):
        module.run(EXAMPLE, None, None, tmp_path / "none", False, device_count=lambda: 1)
    assert not (tmp_path / "none").exists()


FIELDS: list[dict[str, Any]] = [
    {},
    {
        "checkpoint": {"volume": {"claimName": "data"}, "every": {"steps": 50, "seconds": 90}, "keep": 2},
        "rendezvous": {"joinTimeout": "5m", "heartbeat": "1500ms", "heartbeatMisses": 4, "lastCall": "0s"},
        "failurePolicy": {"backoff": {"initial": "2s", "max": "1m"}, "hang": {"stepTimeout": "5m"}},
    },
    {"failurePolicy": {"hang": {"action": "None"}}},
    {"failurePolicy": {"maxRestarts": 0}, "launcher": {"preload": False}},
]
OF_THE_POD = {
    *(Env.JOB_NAME, Env.JOB_UID, Env.INDEX, Env.POD_NAME, Env.POD_UID, Env.POD_IP, Env.PROCESSES, Env.WORK_DIR),
    *(Env.KEY_FILE, Env.METRICS_PORT),
}
"""What local mode sets by itself."""


@pytest.mark.parametrize("fields", FIELDS)
def test_the_launchers_are_told_what_the_operator_would_tell_them(fields: dict[str, Any]) -> None:
    job = a_job().built_in().spec(**fields)
    template = a_template(terminationGracePeriodSeconds=300)
    del template["spec"]["containers"][0]["command"]
    view = job.template(template).view()
    spec = job.read_spec()
    told = {each["name"]: each["value"] for each in of_operator(view, spec, 0) if each["name"] not in OF_THE_POD}
    ours = environment(spec)
    assert ours.pop("OMP_NUM_THREADS") == str(spec.trainer.cpu_threads if spec.trainer else None)
    assert ours == told


def test_the_example_is_told_to_the_launchers(tmp_path: Path) -> None:
    spec = read(JobSpec, yaml.safe_load(EXAMPLE.read_text())["spec"], "spec")
    assert environment(spec)[Env.SAVE_EVERY_STEPS] == "40"
