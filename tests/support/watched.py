"""A reflector that runs on the API server in memory, and the pods that it sees."""

from __future__ import annotations

import asyncio

import pytest
from fake_kube import FakeKube

from dtj_operator.kube.resources import PODS
from dtj_operator.observe import reflector as module
from dtj_operator.observe.reflector import Reflector


def pod(name: str, owner: str = "", **labels: str):
    metadata: dict = {"name": name, "namespace": "default", "labels": labels}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True, "kind": "X", "name": "x", "apiVersion": "v1"}]
    return {"metadata": metadata, "spec": {}}


class Watched:
    """A reflector that runs, with all the changes it announced."""

    def __init__(self, kube: FakeKube, **more):
        self.changes: list = []
        self.news = asyncio.Event()
        self.reflector = Reflector(
            kube, PODS, trim=lambda item: item["metadata"]["name"], on_change=self._changed, **more
        )

    def _changed(self, change):
        self.changes.append((change.type, change.key[1]))
        self.news.set()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.reflector.run())
        await asyncio.wait_for(self.reflector.synced.wait(), 30)
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def names(self):
        return sorted(self.reflector.values())


@pytest.fixture
def quick_backoff(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.001)
