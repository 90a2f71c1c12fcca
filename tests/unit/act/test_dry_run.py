"""What the API server says of pods that it would refuse, and which field of the job it is about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plan_jobs import a_job, a_template

from dtj_api import names
from dtj_operator.act.dry_run import DryRunner
from dtj_operator.kube import errors
from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import Resource
from dtj_operator.plan.actions import DryRunWorker
from dtj_operator.render import Site

FOREIGN = Site(launcher_image="example.com/dtj-operator:1")
LIMIT_RANGE = "pods is forbidden: minimum memory usage per Container is 256Mi, but request is 64Mi"
QUOTA = "pods is forbidden: failed quota: team: must specify limits.cpu for: dtj-launcher,trainer"
POLICY = "pods is forbidden: no pods on Sundays"


class Refuses:
    """Takes a store and no worker."""

    def __init__(self, words: str) -> None:
        self._words = words

    async def create(self, _: Resource, __: str, body: Object, *, dry_run: bool) -> Object:
        assert dry_run
        if body["metadata"]["name"] == names.store_name("ner"):
            return body
        raise errors.Forbidden("POST pods", self._words)


async def refusal(words: str, site: Site, **pod: Any) -> str:
    facts = SimpleNamespace(dry_run=None)
    world: Any = SimpleNamespace(lookups=SimpleNamespace(of=lambda uid: facts))
    client: Any = Refuses(words)
    assert await DryRunner(client, world, site).run(a_job().template(a_template(**pod)).view(), DryRunWorker("hash"))
    return str(facts.dry_run.refused)


@pytest.mark.parametrize("words", [LIMIT_RANGE, QUOTA], ids=["names no container", "names it"])
async def test_what_may_be_the_launchers_container_is_told_with_its_field(words: str) -> None:
    said = await refusal(words, FOREIGN)
    assert said.startswith(words)
    assert "the container dtj-launcher are spec.launcher.resources" in said


@pytest.mark.parametrize(
    ("words", "site"),
    [(LIMIT_RANGE, Site()), (POLICY, FOREIGN)],
    ids=["a pod without that container", "about no container"],
)
async def test_no_field_is_named_that_would_change_nothing(words: str, site: Site) -> None:
    assert await refusal(words, site) == words


@pytest.mark.parametrize("given", [None, [{}]])
async def test_init_containers_without_a_value_or_a_name_are_the_api_servers_affair(given: Any) -> None:
    assert await refusal(LIMIT_RANGE, Site(), initContainers=given) == LIMIT_RANGE
