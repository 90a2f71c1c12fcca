"""One leads, whatever the server, the clock and the scheduler do."""

from __future__ import annotations

import asyncio

import pytest
from api_faults import Fault
from fake_kube import FakeKube

from dtj_operator.kube import errors
from dtj_operator.kube.resources import LEASES
from dtj_operator.leader import LeaderElector, LeadershipLost


class Clock:
    """A monotonic clock that jumps when told to."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return asyncio.get_running_loop().time() + self.ahead


def candidate(kube: FakeKube, identity: str, clock=None) -> LeaderElector:
    return LeaderElector(
        kube,
        namespace="default",
        name="dtj-operator",
        identity=identity,
        lease_seconds=0.3,
        renew_seconds=0.2,
        retry_seconds=0.01,
        clock=clock or Clock(),
    )


def holder(kube: FakeKube) -> str:
    return str(kube.read(LEASES, "dtj-operator")["spec"]["holderIdentity"])


async def renewals(kube: FakeKube, count: int) -> None:
    """Wait until the lease was written so many times."""
    async with asyncio.timeout(10):
        version = kube.read(LEASES, "dtj-operator")["metadata"]["resourceVersion"]
        events = kube.watch(LEASES, "default", version=version)
        for _ in range(count):
            await anext(events)
        await events.aclose()  # type: ignore[attr-defined]


async def acquired(elector: LeaderElector) -> None:
    await asyncio.wait_for(elector.acquire(), 10)


async def cancelled(task: asyncio.Task) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_of_two_candidates_one_leads_and_the_other_waits():
    kube = FakeKube()
    first, second = candidate(kube, "first"), candidate(kube, "second")
    await acquired(first)
    hold = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    await renewals(kube, 40)
    assert not waiting.done(), "forty renewals are longer than one lease"
    assert holder(kube) == "first"
    await cancelled(hold)
    await asyncio.wait_for(waiting, 10)
    assert holder(kube) == "second"
    assert kube.read(LEASES, "dtj-operator")["spec"]["leaseTransitions"] == 1


async def test_candidates_that_start_together_elect_exactly_one():
    kube = FakeKube()
    tasks = [asyncio.create_task(candidate(kube, f"c{i}").acquire()) for i in range(5)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for task in pending:
        await cancelled(task)


async def test_a_released_lease_is_taken_without_waiting_for_its_end():
    kube = FakeKube()
    first, second = candidate(kube, "first"), candidate(kube, "second")
    await acquired(first)
    await first.release()
    assert holder(kube) == ""
    assert await second._try_acquire()


async def test_a_leader_that_was_paused_past_its_deadline_gives_up_before_it_writes():
    kube = FakeKube()
    clock = Clock()
    leader = candidate(kube, "leader", clock)
    await acquired(leader)
    assert not leader.overdue()
    clock.ahead += 60
    assert leader.overdue(), "the fence is shut from the first moment on"
    writes = len(kube.writes())
    with pytest.raises(LeadershipLost, match="not renewed"):
        await asyncio.wait_for(leader.hold(), 10)
    assert len(kube.writes()) == writes
    assert not leader.leading


async def test_a_candidate_whose_clock_jumps_does_not_take_a_lease_that_is_alive():
    """The jump makes the lease look old once; it is taken only when it was not renewed *while we looked*."""
    kube = FakeKube()
    clock = Clock()
    leader, other = candidate(kube, "leader"), candidate(kube, "other", clock)
    await acquired(leader)
    assert not await other._try_acquire()
    await leader._renew()
    clock.ahead += 3600
    assert not await other._try_acquire()
    assert holder(kube) == "leader"


async def test_wall_clock_times_of_others_are_not_believed():
    kube = FakeKube()
    leader, other = candidate(kube, "leader"), candidate(kube, "other")
    await acquired(leader)
    kube.edit(LEASES, "dtj-operator", lambda it: it["spec"].update(renewTime="1999-01-01T00:00:00.000000Z"))
    assert not await other._try_acquire()


@pytest.mark.parametrize("error", [errors.Unavailable("PUT", "boom"), errors.Forbidden("PUT", "etcd is away")])
async def test_a_leader_that_cannot_renew_in_time_gives_up(error):
    kube = FakeKube()
    leader = candidate(kube, "leader")
    await acquired(leader)
    kube.fault_of = lambda call: Fault(error)
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(leader.hold(), 10)


async def test_a_call_that_hangs_does_not_outlast_the_deadline():
    kube = FakeKube()
    leader = candidate(kube, "leader")
    await acquired(leader)

    async def hang(*_, **__):
        await asyncio.Event().wait()

    leader._client = type("Hangs", (), {"replace": hang, "get": hang})()
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(leader.hold(), 10)


async def test_a_renewal_that_landed_without_an_answer_is_not_a_loss():
    kube = FakeKube()
    leader = candidate(kube, "leader")
    await acquired(leader)
    landed = iter([Fault(errors.Unavailable("PUT", "504"), landed=True)])
    kube.fault_of = lambda call: next(landed, None) if call.verb == "replace" else None
    hold = asyncio.create_task(leader.hold())
    await renewals(kube, 5)
    assert not hold.done()
    await cancelled(hold)


async def test_a_lease_that_another_took_is_lost_at_once():
    kube = FakeKube()
    leader = candidate(kube, "leader")
    await acquired(leader)
    kube.edit(LEASES, "dtj-operator", lambda it: it["spec"].update(holderIdentity="thief"))
    with pytest.raises(LeadershipLost, match="another"):
        await asyncio.wait_for(leader.hold(), 10)


async def test_one_failed_renewal_is_survived():
    kube = FakeKube()
    leader = candidate(kube, "leader")
    await acquired(leader)
    once = iter([Fault(errors.Unavailable("PUT", "500"))])
    kube.fault_of = lambda call: next(once, None) if call.verb == "replace" else None
    hold = asyncio.create_task(leader.hold())
    await renewals(kube, 1)
    assert not hold.done()
    await cancelled(hold)


def test_times_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="retry"):
        LeaderElector(FakeKube(), namespace="d", name="n", identity="i", lease_seconds=5, renew_seconds=10)
