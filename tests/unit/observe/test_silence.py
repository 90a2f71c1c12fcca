"""Launchers that do not answer are known as such, and take nobody else's time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from fake_launcher import REPORT, change

from dtj_operator.observe.reports import Reports


async def test_a_pod_that_does_not_answer_is_no_warning(reports, launcher, caplog):
    await launcher.close()
    with caplog.at_level(logging.DEBUG):
        await reports._fetch("pod-1", "127.0.0.1")
    assert [each.levelno for each in caplog.records if each.name == "dtj_operator.observe.reports"] == [logging.DEBUG]


async def test_a_launcher_that_does_not_answer_is_remembered_until_it_does(reports, launcher):
    reports.accept("pod-1", REPORT)
    assert reports.unanswered(["pod-1"]) == {}
    await launcher.close()
    reports.follow("pod-1", "127.0.0.1", "job-1")
    for _ in range(1000):
        if reports.unanswered(["pod-1"]):
            break
        await asyncio.sleep(0.01)
    assert reports.unanswered(["pod-1", "pod-2"]) == {"pod-1": 7.0}
    assert reports.changed.qsize() == 2, "its job was told when it was heard, and once when it fell silent"
    reports.accept("pod-1", REPORT)
    assert reports.unanswered(["pod-1"]) == {}
    assert reports.changed.qsize() == 3, "and when it was heard again, though it says nothing new"


@pytest.mark.parametrize("how", ["told to stop", "by its interval"])
async def test_who_is_not_asked_is_not_silent(reports, launcher, how):
    """Who leads again after a while must not take what it did not ask for what was not answered."""
    reports.accept("pod-1", REPORT)
    await change(reports)
    await launcher.close()
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await change(reports)
    assert reports.unanswered(["pod-1"])
    if how == "told to stop":
        reports.stop("pod-1")
    else:
        task = reports._tasks["pod-1"]
        reports.intervals.clear()
        await asyncio.wait_for(task, 60)
    assert reports.unanswered(["pod-1"]) == {}
    assert reports.of(["pod-1"]), "what was said last is kept"


@pytest.mark.parametrize("how", ["told to stop", "by its interval"])
async def test_who_is_not_asked_does_not_answer_what_cannot_be_read(reports, launcher, how):
    """A proxy that answered for it once, before another process led, says nothing of it now."""
    launcher.body = b"{}"
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await change(reports)
    assert reports.unreadable(["pod-1"]) == ("pod-1",)
    task = reports._tasks["pod-1"]
    if how == "told to stop":
        reports.stop("pod-1")
    reports.intervals.clear()
    await asyncio.wait_for(asyncio.wait([task]), 60)
    assert reports.unreadable(["pod-1"]) == ()


async def test_one_whose_answer_cannot_be_read_did_answer(reports, launcher):
    launcher.body = b"{}"
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await launcher.was_asked(3)
    assert reports.unanswered(["pod-1"]) == {}
    assert reports.unreadable(["pod-1", "pod-2"]) == ("pod-1",)
    assert reports.changed.qsize() == 1
    reports.accept("pod-1", REPORT)
    assert reports.unreadable(["pod-1"]) == ()


async def test_no_more_than_so_many_are_asked_at_once(launcher):
    launcher.hold = asyncio.Event()
    reports = Reports(lambda uid: 10.0, lambda uid: None, port=launcher.port, parallel=3, timeout=30)
    for number in range(9):
        reports.follow(f"pod-{number}", "127.0.0.1", "job-1")
    await launcher.was_asked(3)
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert launcher.asked == 3
    launcher.hold.set()
    await reports.close()


async def test_pods_that_do_not_answer_take_no_other_jobs_time(launcher):
    launcher.hold = asyncio.Event()
    reports = Reports(lambda uid: 10.0, lambda uid: None, port=launcher.port, timeout=30)
    for number in range(120):
        reports.follow(f"pod-{number}", "127.0.0.1", f"job-{number % 4}")
    await launcher.was_asked(120)
    launcher.hold.set()
    await reports.close()


async def test_the_pods_of_one_job_hold_up_no_other(launcher):
    launcher.hold = asyncio.Event()
    told = asyncio.Event()
    reports = Reports(lambda uid: 10.0, lambda uid: told.set(), port=launcher.port, parallel=4, share=3, timeout=30)
    for number in range(9):
        reports.follow(f"deaf-{number}", "127.0.0.1", "deaf")
    await launcher.was_asked(3)
    held, launcher.hold = launcher.hold, None
    launcher.report = replace(REPORT, pod_uid="honest-0")
    reports.follow("honest-0", "127.0.0.1", "honest")
    await asyncio.wait_for(told.wait(), 60)
    assert list(reports.of(["honest-0", "deaf-0"])) == ["honest-0"]
    assert launcher.asked == 4
    held.set()
    await reports.close()
    assert reports._connections.idle


async def test_who_did_not_answer_is_given_less_time_and_now_and_then_all_of_it(launcher):
    launcher.hold = asyncio.Event()
    reports = Reports(lambda uid: 10.0, lambda uid: None, port=launcher.port, timeout=0.04)
    given = []
    for _ in range(6):
        given.append(reports._deadline("pod-1"))
        await reports._fetch("pod-1", "127.0.0.1")
    assert given == [0.04, 0.01, 0.01, 0.01, 0.04, 0.01]
    reports.accept("pod-1", REPORT)
    assert reports._deadline("pod-1") == 0.04
    launcher.hold.set()
    await reports.close()
