"""Pods that leave: together with the store, and with a script that saves by itself."""

from __future__ import annotations

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

NAME = "own-script"
SECOND = names.worker_name(NAME, 1)
OWN_HANDLER = """
import os, pathlib, signal, socket, time
import torch, torch.distributed as dist
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
dist.init_process_group("gloo")
folder = pathlib.Path(os.environ["DTJ_WORK_DIR"])
folder.mkdir(parents=True, exist_ok=True)
(folder / f"trains-{os.environ['DTJ_INCARNATION']}-{dist.get_rank()}").touch()
while True:
    stop = torch.tensor(float(bool(asked)))
    dist.all_reduce(stop)
    if stop.item():
        time.sleep(5)
        (folder / f"saved-{socket.gethostname()}").touch()
        break
    time.sleep(0.1)
dist.destroy_process_group()
"""


def endless(spec: Object) -> None:
    spec["workers"].update(replicas=2, minReplicas=2)
    spec["workers"]["template"]["spec"]["containers"][0]["command"][-1] = "1000000"
    spec["checkpoint"]["every"] = {"steps": 1_000_000}


def test_a_worker_that_goes_together_with_the_store_saves_first(jobs: Jobs) -> None:
    """As in a drain of the node that both are on; no other save is due in this job."""
    jobs.apply("own-script.yaml", endless)
    seen = jobs.wait_for_step(NAME, 100, 240)["status"]["progress"]["step"]

    jobs.kubectl("delete", "pod", SECOND, names.store_name(NAME), "-n", jobs.namespace, "--wait=false")
    jobs.wait(NAME, "jsonpath={.status.restarts.byCause.PodDeleted}=1", 180)
    jobs.wait(NAME, "jsonpath={.status.phase}=Running", 240)
    status = jobs.wait_for_step(NAME, seen, 120)["status"]

    found = (jobs.work_dir(NAME) / "checkpoints").glob("step-*")
    assert max(int(path.name[5:].partition(".")[0]) for path in found) >= seen
    assert status["restarts"].get("counted", 0) == 0


def test_a_script_that_saves_by_itself_on_sigterm_has_the_grace_period_in_all_pods(jobs: Jobs) -> None:
    def own(spec: Object) -> None:
        endless(spec)
        container = spec["workers"]["template"]["spec"]["containers"][0]
        container["command"] = ["python", "-u", "-c", OWN_HANDLER]

    jobs.apply("own-script.yaml", own)
    jobs.wait(NAME, "jsonpath={.status.phase}=Running", 240)
    folder = jobs.work_dir(NAME)
    jobs.wait_until("ranks that train", lambda: len(list(folder.glob("trains-1-*"))) == 2, 180)

    jobs.kubectl("delete", "pod", SECOND, "-n", jobs.namespace, timeout=180)

    jobs.wait_until("both saved", lambda: len(list(folder.glob("saved-*"))) == 2, 180)
    jobs.wait_until("ranks that train again", lambda: len(list(folder.glob("trains-2-*"))) == 2, 180)
    assert jobs.job(NAME)["status"]["restarts"].get("counted", 0) == 0
