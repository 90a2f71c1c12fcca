"""Twenty minutes of one fault a minute: nothing is lost, nothing is miscounted, and the loss is the undisturbed one.

    DTJ_CHAOS_MINUTES=20 pytest -s tests/chaos

The faults are 60 % killed ranks, 30 % lost pods and 10 % lost stores, in an order that the seed fixes. Goodput is what
the status adds up, beside what the log of the steps shows from outside.
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_api.names import Cause

pytestmark = [pytest.mark.soak, pytest.mark.timeout(6000)]

MINUTES = int(os.environ.get("DTJ_CHAOS_MINUTES", "20"))
EVERY = 60.0
SEED = int(os.environ.get("DTJ_CHAOS_SEED", "8"))
"""The default one draws exactly 12 ranks, 6 pods and 2 stores in 20 minutes."""
WORLD = 3
SCRIPT = Path(__file__).with_name("train.py")
FAULTS = ["rank"] * 6 + ["pod"] * 3 + ["store"]
CAUSES = {"rank": {Cause.PROCESS_SIGNAL}, "pod": {Cause.POD_DELETED, Cause.GONE}, "store": {Cause.STORE_LOST}}


class Step(NamedTuple):
    """One line of the log."""

    step: int
    at: float
    loss: str


def manifest(jobs: Jobs, name: str, *, spares: int, **env: str) -> Object:
    container = {
        "name": "trainer",
        "image": jobs.place.trainer.reference,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/code/train.py"],
        "env": [{"name": key, "value": value} for key, value in {"OMP_NUM_THREADS": "1", **env}.items()],
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    }
    template = {"spec": {"containers": [container], "volumes": [{"name": "code", "configMap": {"name": "chaos"}}]}}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": jobs.namespace},
        "spec": {
            "workers": {"replicas": WORLD, "minReplicas": WORLD, "spares": spares, "template": template},
            "checkpoint": {"volume": {"claimName": jobs.place.claim}, "path": name, "every": {"steps": 20}},
            "failurePolicy": {"maxRestarts": 1000},
        },
    }


def steps_of(jobs: Jobs, name: str) -> list[Step]:
    rows = (line.split() for line in (jobs.folder / name / "steps.log").read_text().splitlines())
    return [Step(int(step), float(at), loss) for step, at, loss in rows]


def strike(jobs: Jobs, kind: str, dice: random.Random) -> None:
    members = jobs.job("chaos")["status"]["members"]
    pod = names.worker_name("chaos", dice.choice(members))
    if kind == "rank":
        jobs.kill_rank(pod)
        return
    target = pod if kind == "pod" else names.store_name("chaos")
    force = ("--grace-period=0", "--force") if kind == "store" or dice.random() < 0.5 else ()
    jobs.kubectl("delete", "pod", target, "-n", jobs.namespace, "--wait=false", *force)


def test_one_fault_a_minute(jobs: Jobs) -> None:
    script = {"train.py": SCRIPT.read_text()}
    metadata = {"name": "chaos", "namespace": jobs.namespace}
    jobs.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": script})
    jobs.kubectl.apply(manifest(jobs, "chaos", spares=1, PAUSE="0.05"))
    jobs.wait_for_step("chaos", 50, 300)
    jobs.wait("chaos", "jsonpath={.status.workers.spare}=1", 120)
    time.sleep(10)
    dice = random.Random(SEED)
    struck: Counter[str] = Counter()
    for minute in range(MINUTES):
        kind = dice.choice(FAULTS)
        began = time.monotonic()
        strike(jobs, kind, dice)
        struck[kind] += 1
        time.sleep(EVERY - min(EVERY, time.monotonic() - began))
        status = jobs.job("chaos")["status"]
        print(f"minute {minute + 1}: {kind}; {status['phase']} at step {status['progress']['step']}", flush=True)
        assert status["phase"] == names.Phase.RUNNING, jobs.story("chaos")
    (jobs.folder / "chaos" / "enough").touch()
    status = jobs.wait("chaos", "condition=Succeeded", 120)["status"]

    tell(status, steps_of(jobs, "chaos"), struck)
    found = status["restarts"]["byCause"]
    for kind, causes in CAUSES.items():
        assert sum(found.get(cause, 0) for cause in causes) == struck[kind], (found, struck)
    assert sum(found.values()) == MINUTES
    assert status["recovered"]["count"] == MINUTES
    same_as_undisturbed(jobs, steps_of(jobs, "chaos"))
    for name in ("chaos", "calm"):
        jobs.kubectl("delete", names.PLURAL, name, "-n", jobs.namespace, "--timeout=60s")
        jobs.wait_for_no_pods(name, 180)


def tell(status: Object, steps: list[Step], struck: Counter[str]) -> None:
    """Goodput by the status and from outside; the medians of the recoveries."""
    wall = steps[-1].at - steps[0].at
    pace = statistics.median(b.at - a.at for a, b in itertools.pairwise(steps) if b.step == a.step + 1)
    totals = status["recovered"]
    ours = 1 - (totals["seconds"] + totals["stepsRedone"] * pace) / wall
    outside = 1 - lost(steps, pace) / wall
    print(f"faults {dict(struck)}; restarts {status['restarts']['byCause']}; load {os.getloadavg()[0]:.1f}")
    for each in status["recoveries"]:
        print(
            f"  {each['cause']:14} {each['seconds']:6.2f} s, {each.get('stepsRedone')} steps redone, {each['phases']}"
        )
    print(f"{steps[-1].step} steps of {pace:.3f} s in {wall:.0f} s; {totals['seconds']:.1f} s of recovery in all")
    print(f"goodput: {ours:.3f} by the status, {outside:.3f} from outside (bars: 0.90; within 0.01)")


def lost(steps: list[Step], pace: float) -> float:
    """Seconds in which the log got no further: from the last new step before each fault to the next new one."""
    new = [steps[0]]
    for each in steps:
        if each.step > new[-1].step:
            new.append(each)
    gaps = (b.at - a.at for a, b in itertools.pairwise(new))
    return sum(gap - pace for gap in gaps if gap > max(0.2, 3 * pace))


def same_as_undisturbed(jobs: Jobs, disturbed: list[Step]) -> None:
    """Each step has one loss, however often it was made, and it is the one of a run without faults."""
    last = disturbed[-1].step
    jobs.kubectl.apply(manifest(jobs, "calm", spares=0, PAUSE="0", STEPS=str(last)))
    jobs.wait("calm", "condition=Succeeded", 1800)
    wanted = {each.step: each.loss for each in steps_of(jobs, "calm")}
    assert len(wanted) == last
    wrong = [each for each in disturbed if each.loss != wanted[each.step]]
    assert wrong == [], "a loss differs from that of the undisturbed run"
    assert {each.step for each in disturbed} == set(wanted), "no step was left out"
