"""A standby asks no launcher: who ends waits until his last report is fetched, and that must be by who writes it."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from fake_apiserver import FakeApiServer, put_job
from hostile import HonestLauncher, run_pod
from operator_process import OperatorProcess, connect, phase_is, until

from dtj_api import names
from dtj_api.names import LauncherState
from dtj_api.wire import Progress
from dtj_operator.kube.resources import JOBS, LEASES, PODS

NAME, NAMESPACE = "ner", "default"
WORKER = names.worker_name(NAME, 0)
LAUNCHER_IP, STORE_IP = "127.0.4.1", "127.0.4.2"
LAST_STEP = 17


def sockets_of(pid: int) -> set[str]:
    """Inodes of the sockets that a process has open."""
    found = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(file.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def socket_at(port: int, to: str) -> str:
    """Inode of the socket on this side's port that is connected to an address."""
    there = "".join(f"{int(part):02X}" for part in reversed(to.split(".")))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if local.endswith(f":{port:04X}") and remote.startswith(there):
            return rest[6]
    return ""


class Listener(HonestLauncher):
    """A launcher that knows which process asks."""

    def __init__(self, server: FakeApiServer) -> None:
        super().__init__(LAUNCHER_IP)
        self._server = server
        self.operators: list[OperatorProcess] = []
        self.asked: Counter[int] = Counter()
        """Process to its questions."""
        self.last_words: list[bool] = []
        """Of each question after the end: who asked held the lease, which nobody else did."""

    async def _tell(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            transport: Any = request.transport
            inode = socket_at(transport.get_extra_info("peername")[1], LAUNCHER_IP)
            (pid,) = [
                each.process.pid
                for each in self.operators
                if each.process.poll() is None and inode in sockets_of(each.process.pid)
            ]
            self.asked[pid] += 1
            if self.report.state == LauncherState.DONE:
                self.last_words.append(bool(self._server.kube.read(LEASES, "dtj-operator")["spec"]["holderIdentity"]))
        return await super()._tell(request)


async def test_only_a_leader_asks_launchers_so_a_standby_eats_no_last_words(server, start, tmp_path):
    leader = start()
    await leader.leads()
    standby = start()
    await standby.ready()
    put_job(server, NAME, 1, metrics={"interval": "1s"})
    async with connect(tmp_path / "kubeconfig") as client, Listener(server) as launcher:
        launcher.operators = [leader, standby]
        uid = await run_pod(client, NAMESPACE, WORKER, LAUNCHER_IP)
        launcher.report = replace(launcher.report, pod_uid=uid, reports=True)
        await run_pod(client, NAMESPACE, names.store_name(NAME), STORE_IP)
        await phase_is(client, NAMESPACE, NAME, names.Phase.RUNNING)

        async def asked_often() -> bool:
            return launcher.asked[leader.process.pid] >= 4

        await until(asked_often)
        assert 'watch_events_total{kind="Pod"}' in await standby.metrics(), "it knows whom it could ask"
        assert launcher.asked[standby.process.pid] == 0

        assert await asyncio.to_thread(leader.end, signal.SIGTERM) == 0
        told = Progress(step=LAST_STEP, total_steps=LAST_STEP, updated_at=1.0)
        launcher.report = replace(launcher.report, state=LauncherState.DONE, progress=told)

        async def written() -> bool:
            return bool(server.kube.read(JOBS, NAME)["status"]["progress"].get("step") == LAST_STEP)

        await until(written)
        assert launcher.last_words[0], "who fetched them could write them down"
        assert launcher.asked[standby.process.pid] > 0
        assert server.kube.read(PODS, WORKER)["metadata"]["uid"] == uid
