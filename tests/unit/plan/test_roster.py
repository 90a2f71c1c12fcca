"""A roster answers for one state of the status: each field that it reads makes another one."""

from __future__ import annotations

import ast
import inspect

import pytest
from plan_jobs import a_job

from dtj_operator.plan.draft import Draft
from dtj_operator.plan.roster import Roster


def test_it_reads_no_field_but_those_that_it_names() -> None:
    tree = ast.parse(inspect.getsource(Roster))
    reads = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self._status", "status")
    }
    assert reads == Roster.READS


def test_a_change_of_what_it_reads_is_seen_at_once() -> None:
    view = a_job().replicas(3).running().view()
    assert view.spec is not None
    draft = Draft(view, view.spec)
    assert [draft.roster.is_member(index) for index in range(3)] == [True, True, True]
    draft.set(members=(0, 2), finished_members=(2,))
    assert [draft.roster.is_member(index) for index in range(3)] == [True, False, True]
    assert [draft.roster.is_through(index) for index in range(3)] == [False, False, True]
    assert list(draft.roster.reports) == [0, 2]
    draft.set(counted_pods=(draft.roster.pods[0].uid,))
    assert not draft.roster.worker(0).lives
    draft.set(oldest_incarnation=view.status.incarnation + 1)
    assert (draft.roster.pods, draft.roster.said, draft.roster.store) == ({}, {}, None)


@pytest.mark.parametrize("field", sorted(Roster.READS))
def test_each_field_makes_another_one(field: str) -> None:
    view = a_job().replicas(2).running().view()
    assert view.spec is not None
    draft = Draft(view, view.spec)
    before = draft.roster
    draft.set(phase=view.status.phase)
    assert draft.roster is before
    draft.set(**{field: getattr(view.status, field)})
    assert draft.roster is not before
