"""A quota that is too small is said in the API server's words, and the job goes on once it is raised."""

from __future__ import annotations

from pathlib import Path

import pytest
from operator_process import (
    OperatorProcess,
    a_job,
    connect,
    edit,
    install_crd,
    make_namespace,
    names_of,
    pods_of,
    until,
)

from dtj_api import names
from dtj_operator.kube.client import HttpKubeClient, Object
from dtj_operator.kube.resources import JOBS, Resource

pytestmark = pytest.mark.cluster
NAMESPACE = "quota"
QUOTAS = Resource("", "v1", "ResourceQuota", "resourcequotas", namespaced=True)


def _quota(pods: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": str(pods)}},
    }


async def _progressing(client: HttpKubeClient) -> Object:
    job = await client.get(JOBS, NAMESPACE, "ner")
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == names.Condition.PROGRESSING), {})


async def test_a_quota_is_a_condition_and_a_raised_one_lets_the_job_go_on(control_plane: Path, tmp_path: Path) -> None:
    async with connect(control_plane) as client:
        await install_crd(client)
        await make_namespace(client, NAMESPACE)
        await client.create(QUOTAS, NAMESPACE, _quota(2))
        with OperatorProcess(control_plane, NAMESPACE, tmp_path / "operator.log", "--no-leader-election"):
            job = await client.create(JOBS, NAMESPACE, a_job("ner", 3))

            async def refused() -> bool:
                said = await _progressing(client)
                return said.get("reason") == names.Reason.CREATE_REFUSED and "exceeded quota: small" in said["message"]

            await until(refused)
            await edit(client, QUOTAS, NAMESPACE, "small", lambda item: item.update(spec=_quota(10)["spec"]))

            async def goes_on() -> bool:
                complete = set(await pods_of(client, job)) == names_of("ner", 3)
                return complete and (await _progressing(client)).get("reason") != names.Reason.CREATE_REFUSED

            await until(goes_on)
