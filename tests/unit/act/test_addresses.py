"""Pods with addresses of version 6, as in a cluster that has no other ones: they are asked, and told where to meet."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from fake_launcher import FakeLauncher
from plan_jobs import a_job, of

from dtj_api.names import LauncherState
from dtj_api.wire import Meet, Report, address, decode
from dtj_operator.act.control import Address, Control
from dtj_operator.observe.reports import Reports
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import SendMeet, plan

HERE, STORE = "::1", "fd00:10:244::5"


@pytest.fixture
async def launcher() -> AsyncIterator[FakeLauncher]:
    """On the loopback of version 6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((HERE, 0))
    except OSError as error:
        pytest.fail(f"this needs {HERE} (`sysctl net.ipv6.conf.lo.disable_ipv6=0`): {error}")
    launcher = FakeLauncher()
    await launcher.start(HERE)
    yield launcher
    await launcher.close()


@pytest.mark.parametrize(("ip", "written"), [("10.0.0.1", "10.0.0.1:80"), (STORE, f"[{STORE}]:80")])
def test_an_address_is_written_as_in_a_url(ip: str, written: str) -> None:
    assert address(ip, 80) == written


async def test_a_launcher_is_asked_and_told_where_the_store_is(launcher: FakeLauncher) -> None:
    job = a_job().replicas(1).up().change(0, ip=HERE).change(STORE_INDEX, ip=STORE)
    (pod,) = [pod for pod in job.view().pods if pod.index == 0]
    launcher.report = Report(pod.uid, 0, LauncherState.WAITING, 0, 0, 0, -1)
    answered: asyncio.Queue[str] = asyncio.Queue()
    reports = Reports(lambda uid: 0.01, answered.put_nowait, port=launcher.port, timeout=30)
    control = Control(port=launcher.port, timeout=30)
    try:
        reports.follow(pod.uid, pod.ip, "job")
        async with asyncio.timeout(60):
            await answered.get()
        made = plan(job.silent().pod(pod, reports.of([pod.uid])[pod.uid].report).view())
        assert made.status.store.address == f"[{STORE}]:29400"
        (send,) = of(made, SendMeet)
        await control.send(Address(send.pod, send.uid, send.ip), send.message, b"key")
    finally:
        await reports.close()
        await control.close()
    ((path, body, headers),) = launcher.messages
    assert (path, decode(Meet, body).store) == ("/v1/meet", f"[{STORE}]:29400")
    assert headers["Host"] == f"[{HERE}]:{launcher.port}"
