"""A hostile tenant beside an honest job, in short; `make hostile` has the long form and the figures."""

from __future__ import annotations

import pytest
from hostile_story import tell_it

MOST_MEMORY = 300 * 2**20


@pytest.mark.timeout(900)
async def test_an_honest_job_beside_a_hostile_tenant(client, namespace, start):
    figures = await tell_it(client, namespace, start, odd=10, heavy=3, launchers=9, kills=1)
    print(figures)
    assert figures.memory <= MOST_MEMORY


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_what_a_hostile_tenant_costs_the_others(client, namespace, start):
    figures = await tell_it(client, namespace, start, odd=200, heavy=40, launchers=40, kills=60)
    print(f"\n200 odd manifests, 40 of 1.4 MB, 40 of 9,000 levels, 40 hostile launchers: {figures}")
    assert figures.memory <= MOST_MEMORY
    assert figures.lag <= 0.1
    assert figures.honest <= 1.0
