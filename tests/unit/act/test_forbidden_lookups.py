"""A right that the operator's role lacks is a condition on the jobs that need it, and hides none of them."""

from __future__ import annotations

import pytest
from api_faults import Call, Fault
from operator_lives import NAME, Life, Story

from dtj_api.names import Condition, Reason
from dtj_operator.kube import errors
from dtj_operator.kube.resources import CLAIMS, PODS, SECRETS, Resource

WORDS = "secrets is forbidden: User cannot get resource"
OWN = {"template": {"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}}}


def forbid(resource: Resource, story: Story) -> None:
    def fault(call: Call) -> Fault | None:
        asked = call.verb == "get" and call.resource is resource
        return Fault(errors.Forbidden("GET", WORDS)) if asked else None

    story.kube.fault_of = fault


def said(story: Story, kind: Condition) -> dict[str, str]:
    return next((each for each in story.status["conditions"] if each["type"] == kind), {})


@pytest.mark.parametrize("volume", [{"claimName": "shared"}, OWN], ids=["given", "own"])
async def test_a_claim_that_may_not_be_looked_at_is_said_and_the_job_runs(volume: dict[str, object]) -> None:
    story = Story(2, checkpoint={"volume": volume})
    forbid(CLAIMS, story)
    life = Life(story, lambda n, call: "")
    await life.settle()
    assert len(story.kube.all(PODS)) == 3
    progressing = said(story, Condition.PROGRESSING)
    assert (progressing["status"], progressing["reason"]) == ("False", Reason.LOOKUP_FORBIDDEN)
    assert "PersistentVolumeClaim/" in progressing["message"]
    assert WORDS in progressing["message"]
    story.run_pods()
    await life.settle()
    assert story.status["phase"] == "Running"
    assert said(story, Condition.DEGRADED)["reason"] == Reason.LOOKUP_FORBIDDEN

    story.kube.fault_of = lambda call: None
    life.queue.add(("default", NAME))
    await life.settle()
    assert said(story, Condition.DEGRADED)["status"] == "False"
    await life.end()


async def test_a_key_that_the_next_operator_may_not_read_is_said_and_not_made_anew() -> None:
    story = Story(2)
    first = Life(story, lambda n, call: "")
    await first.settle()
    await first.end()
    secret = story.kube.all(SECRETS)
    forbid(SECRETS, story)
    second = Life(story, lambda n, call: "")
    await second.settle()
    await second.end()
    assert said(story, Condition.PROGRESSING)["reason"] == Reason.LOOKUP_FORBIDDEN
    assert story.kube.all(SECRETS) == secret
