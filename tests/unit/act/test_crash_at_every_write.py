"""The operator may die, or be lied to, at every single write: the end is the same as if nothing had happened."""

from __future__ import annotations

import asyncio

import pytest
from api_faults import Call, Crash, Fault
from operator_lives import NAME, Life, Story

from dtj_api import names
from dtj_operator.kube import errors
from dtj_operator.kube.resources import EVENTS, JOBS, NETWORK_POLICIES, PODS, SECRETS, SERVICES
from dtj_operator.observe.indexer import controller_of


async def tell(story: Story, dies=lambda n, call: "") -> int:
    """A start, a failed pod, a suspension and a resume; the answer is the number of lives that it took."""
    lives = [Life(story, dies)]

    async def settle() -> None:
        try:
            await lives[-1].settle()
        except Crash:
            await lives[-1].end()
            lives.append(Life(story, lambda n, call: ""))
            await lives[-1].settle()

    async with asyncio.timeout(60):
        await settle()
        for _ in range(2):
            story.run_pods()
            lives[-1].queue.add(("default", NAME))
            await settle()
        story.fail_pod(0)
        await settle()
        for _ in range(2):
            story.run_pods()
            lives[-1].queue.add(("default", NAME))
            await settle()
        story.set_spec(lambda spec: spec.update(suspend=True))
        await settle()
        story.set_spec(lambda spec: spec.update(suspend=False))
        await settle()
    await lives[-1].end()
    return len(lives)


def summary(story: Story):
    """What must not depend on the operator's fate."""
    status = story.status
    uid = story.kube.read(JOBS, NAME)["metadata"]["uid"]
    children = {}
    for resource in (PODS, SERVICES, NETWORK_POLICIES, SECRETS):
        items = story.kube.all(resource)
        assert all(controller_of(item) == uid for item in items), "no orphan"
        children[resource.plural] = [item["metadata"]["name"] for item in items]
    made = [name for resource, name, _ in story.kube.created if resource in (PODS, SERVICES, NETWORK_POLICIES, SECRETS)]
    restarts = {key: status["restarts"][key] for key in ("counted", "excused", "byCause")}
    return children, sorted(made), restarts, status["phase"]


@pytest.fixture(scope="module")
def reference():
    async def clean():
        story = Story()
        await tell(story)
        return summary(story), [call for call in story.kube.writes() if call.resource != EVENTS]

    return asyncio.run(clean())


async def test_the_story_without_a_crash_is_worth_telling(reference):
    (children, made, restarts, _), writes = reference
    assert restarts["counted"] == 1, "the failed pod was charged once"
    assert children["pods"] == sorted([names.store_name(NAME), *(names.worker_name(NAME, i) for i in (0, 1))])
    assert made.count(names.worker_name(NAME, 0)) == 3, "made, replaced after its failure, made anew after the resume"
    assert made.count(names.worker_name(NAME, 1)) == 2
    assert len(writes) >= 20


WRITES = range(45)
"""More than the story has: the last ones check that there are no more."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("index", WRITES)
async def test_a_crash_at_any_write_changes_nothing(reference, index, when):
    story = Story()
    lives = await tell(story, lambda n, call: when if n == index else "")
    assert summary(story) == reference[0]
    assert lives == 2 or index >= len(story.kube.writes())


FAULTS = {
    "500 that landed": lambda: Fault(errors.Unavailable("CALL", "context deadline exceeded", code=500), landed=True),
    "504 that did not land": lambda: Fault(errors.Unavailable("CALL", "timed out", code=504)),
    "403 that passes": lambda: Fault(errors.Forbidden("CALL", "rpc error: code = Unavailable")),
    "429": lambda: Fault(errors.Throttled("CALL", "slow down")),
    "409": lambda: Fault(errors.Conflict("CALL", "the object has been modified")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("index", WRITES)
async def test_a_wrong_answer_at_any_write_changes_nothing(reference, index, fault):
    story = Story()
    count = 0

    def fault_of(call: Call) -> Fault | None:
        nonlocal count
        if not call.is_write or call.resource == EVENTS:
            return None
        if fault == "409" and call.verb != "replace":
            return None
        count += 1
        return FAULTS[fault]() if count == index + 1 else None

    story.kube.fault_of = fault_of
    await tell(story)
    assert summary(story) == reference[0]
