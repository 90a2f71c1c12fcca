"""A job is planned again only when its own creates and deletes have been seen."""

from __future__ import annotations

from dtj_operator.kube.resources import PODS, SERVICES
from dtj_operator.observe.expectations import Expectations


def expectations(at: list[float]) -> Expectations:
    return Expectations(timeout=30, clock=lambda: at[0])


def test_a_create_is_awaited_until_its_uid_arrives():
    waits = expectations([0.0])
    waits.expect_create("job", PODS, "p")
    assert waits.wait("job") == 30
    waits.created("job", PODS, "p", "u1")
    assert waits.wait("job") == 30
    waits.saw("job", PODS, "p", "u1", going=False)
    assert waits.wait("job") == 0


def test_the_watch_may_be_faster_than_the_answer():
    waits = expectations([0.0])
    waits.expect_create("job", PODS, "p")
    waits.saw("job", PODS, "p", "u1", going=False)
    assert waits.wait("job") == 30, "the uid is not known to be ours yet"
    waits.created("job", PODS, "p", "u1")
    assert waits.wait("job") == 0


def test_a_late_event_of_the_names_previous_holder_is_not_the_new_pod():
    waits = expectations([0.0])
    waits.expect_create("job", PODS, "p")
    waits.saw("job", PODS, "p", "old", going=True)
    waits.created("job", PODS, "p", "new")
    assert waits.wait("job") == 30
    waits.saw("job", PODS, "p", "old", going=True)
    assert waits.wait("job") == 30
    waits.saw("job", PODS, "p", "new", going=False)
    assert waits.wait("job") == 0


def test_a_service_of_the_same_name_is_not_the_pod():
    waits = expectations([0.0])
    waits.expect_create("job", PODS, "x")
    waits.created("job", PODS, "x", "u1")
    waits.saw("job", SERVICES, "x", "u1", going=False)
    assert waits.wait("job") == 30


def test_a_delete_is_awaited_until_the_pod_is_going():
    waits = expectations([0.0])
    waits.expect_delete("job", "u1")
    waits.saw("job", PODS, "p", "u1", going=False)
    assert waits.wait("job") == 30
    waits.saw("job", PODS, "p", "u1", going=True)
    assert waits.wait("job") == 0


def test_what_did_not_happen_is_not_awaited():
    waits = expectations([0.0])
    waits.expect_create("job", PODS, "p")
    waits.expect_delete("job", "u1")
    waits.not_created("job", PODS, "p")
    waits.not_deleted("job", "u1")
    assert waits.wait("job") == 0


def test_what_never_arrives_is_dropped_in_time_and_other_jobs_do_not_wait():
    at = [0.0]
    waits = expectations(at)
    waits.expect_create("job", PODS, "p")
    assert waits.wait("other") == 0
    at[0] = 29
    assert waits.wait("job") == 1
    at[0] = 30
    assert waits.wait("job") == 0


def test_a_job_that_is_gone_waits_for_nothing():
    waits = expectations([0.0])
    waits.expect_create("job", PODS, "p")
    waits.forget("job")
    assert waits.wait("job") == 0
