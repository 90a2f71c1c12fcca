"""A job's own NetworkPolicy: a TCPStore runs code for whoever connects, so strangers do not get that far."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from e2e_jobs import WATCHERS, Jobs, Object

from dtj_api import names
from dtj_api.peer import NAME_LABEL
from dtj_demo import chart

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

NAME = "own-script"
TRY = """
import json, socket, sys, time
# The firewall learns of a new pod a moment after it runs.
until = time.monotonic() + float(sys.argv[1])
found = {}
for target in sys.argv[2:]:
    host, port = target.rsplit(":", 1)
    found[port] = "closed"
    while found[port] == "closed":
        try:
            socket.create_connection((host, int(port)), 3).close()
            found[port] = "open"
        except OSError:
            if found.keys() != {port} or time.monotonic() > until:
                break
            time.sleep(0.5)
print(json.dumps(found))
"""


@pytest.fixture
def watchers(jobs: Jobs) -> Iterator[None]:
    """The namespace from which a job's metrics may be asked for, and an operator that knows of it."""
    chart.install(jobs.place, "--set", f"jobs.metricsFrom={{{WATCHERS}}}")
    jobs.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WATCHERS}})
    yield
    jobs.kubectl("delete", "namespace", WATCHERS, "--wait=false")
    chart.install(jobs.place)


def one_worker_that_is_watched(spec: Object) -> None:
    spec["workers"]["replicas"] = 1
    spec["workers"]["template"]["spec"]["containers"][0]["command"][-1] = "1000000"
    namespace = {"matchLabels": {NAME_LABEL: WATCHERS}}
    pods = {"matchLabels": {"role": "prometheus"}}
    spec["metrics"] = {"from": [{"namespaceSelector": namespace, "podSelector": pods}]}


def reached_by(jobs: Jobs, name: str, labels: dict[str, str], seconds: int, targets: list[str]) -> dict[str, str]:
    """Which ports a pod with these labels can connect to: the first one within so many seconds, the others at once.

    It is in the namespace that the operator was told of.
    """
    command = ["python", "-c", TRY, str(seconds), *targets]
    there = replace(jobs, namespace=WATCHERS)
    found: dict[str, str] = json.loads(there.output_of(name, jobs.place.trainer.reference, command, labels))
    return found


def test_strangers_reach_neither_store_nor_control_and_metrics_from_lets_one_in_to_the_metrics_alone(
    jobs: Jobs, watchers: None
) -> None:
    jobs.apply("own-script.yaml", one_worker_that_is_watched)
    jobs.wait_for_step(NAME, 1, 300)
    address = {
        pod: jobs.kubectl("get", "pod", pod, "-n", jobs.namespace, "-o", "jsonpath={.status.podIP}")
        for pod in (names.worker_name(NAME, 0), names.store_name(NAME))
    }
    worker, store = address.values()
    metrics = f"{worker}:{names.METRICS_PORT}"
    guarded = [f"{store}:{names.STORE_PORT}", f"{worker}:{names.CONTROL_PORT}"]

    assert set(reached_by(jobs, "stranger", {}, 0, [*guarded, metrics]).values()) == {"closed"}
    assert reached_by(jobs, "prometheus", {"role": "prometheus"}, 120, [metrics, *guarded]) == {
        str(names.METRICS_PORT): "open",
        str(names.STORE_PORT): "closed",
        str(names.CONTROL_PORT): "closed",
    }
