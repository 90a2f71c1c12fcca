"""Terms of office: work runs only while the lease is ours, ends when it is lost, and begins anew when it is won."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_faults import Fault
from fake_kube import FakeKube

from dtj_operator import leadership as module
from dtj_operator.kube import errors
from dtj_operator.kube.resources import LEASES
from dtj_operator.leader import LeaderElector, LeadershipLost
from dtj_operator.leadership import Leadership


class Office:
    """One candidate whose work only waits."""

    def __init__(self, kube: FakeKube | None = None, *, stubborn: bool = False) -> None:
        self.kube = kube or FakeKube()
        self.terms: list[str] = []
        self.began, self.ended, self.finish = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.gave_up: list[str] = []
        self._stubborn = stubborn
        elector = LeaderElector(
            self.kube,
            namespace="default",
            name="dtj",
            identity="me",
            lease_seconds=0.3,
            renew_seconds=0.2,
            retry_seconds=0.01,
        )
        self.office = Leadership(elector, self.work, lambda leads: None, self.give_up)
        self.task = asyncio.create_task(self.office.run())

    async def work(self) -> None:
        self.office.fence()
        self.terms.append("began")
        self.ended.clear()
        self.began.set()
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            if self._stubborn:
                await self.finish.wait()
            raise
        finally:
            self.began.clear()
            self.ended.set()

    def give_up(self, why: str) -> Any:
        self.gave_up.append(why)
        self.finish.set()

    async def close(self) -> None:
        self.finish.set()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def holder(self) -> str:
        return str(self.kube.read(LEASES, "dtj")["spec"]["holderIdentity"])


@pytest.fixture
async def office():
    office = Office()
    await asyncio.wait_for(office.began.wait(), 10)
    yield office
    await office.close()


async def test_a_lease_that_cannot_be_renewed_ends_the_work_and_shuts_the_fence(office):
    office.kube.fault_of = lambda call: Fault(errors.Unavailable("PUT", "away"))
    await asyncio.wait_for(office.ended.wait(), 10)
    with pytest.raises(LeadershipLost):
        office.office.fence()
    assert not office.office.leads
    assert not office.task.done(), "it stands again"
    office.kube.fault_of = lambda call: None
    await asyncio.wait_for(office.began.wait(), 10)
    office.office.fence()
    assert office.terms == ["began", "began"]


async def test_work_that_does_not_end_in_time_ends_the_process(monkeypatch):
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.05)
    office = Office(stubborn=True)
    await asyncio.wait_for(office.began.wait(), 10)
    office.kube.fault_of = lambda call: Fault(errors.Unavailable("PUT", "away"))
    await asyncio.wait_for(office.ended.wait(), 10)
    assert "could not be cancelled" in office.gave_up[0]
    await office.close()


async def test_work_that_was_asked_to_end_gives_the_lease_back(office):
    office.office.end()
    office.finish.set()
    await asyncio.wait_for(office.task, 10)
    assert office.holder() == ""
    assert office.terms == ["began"]


async def test_a_defect_of_the_work_is_no_loss_of_the_lease(monkeypatch):
    async def broken() -> None:
        raise ValueError("a defect")

    office = Leadership(None, broken, lambda leads: None)
    with pytest.raises(ValueError, match="a defect"):
        await asyncio.wait_for(office.run(), 10)
