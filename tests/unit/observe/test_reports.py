"""Launchers are asked for their reports, and only for as long as it matters."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fake_launcher import REPORT, change

from dtj_api.wire import Progress


async def test_a_pods_report_is_fetched_again_and_again(reports, launcher):
    reports.follow("pod-1", "127.0.0.1", "job-1")
    reports.follow("pod-1", "127.0.0.1", "job-1")
    assert await change(reports) == "pod-1"
    assert reports.of(["pod-1", "pod-2"])["pod-1"].report == REPORT
    assert reports.of(["pod-1"])["pod-1"].at == 7.0
    launcher.report = replace(REPORT, round=2)
    await change(reports)
    assert reports.of(["pod-1"])["pod-1"].report.round == 2


async def test_a_report_that_says_nothing_new_wakes_nobody(reports, launcher):
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await change(reports)
    before = launcher.asked
    await launcher.was_asked(before + 5)
    assert reports.changed.empty()


@pytest.mark.parametrize(("rank", "wakes"), [(0, True), (1, False)])
async def test_only_the_progress_of_rank_0_wakes_the_job(reports, rank, wakes):
    first = replace(REPORT, group_rank=rank)
    reports.accept("pod-1", first)
    reports.changed.get_nowait()
    reports.accept("pod-1", replace(first, progress=Progress(step=2)))
    assert reports.changed.empty() is not wakes
    assert reports.of(["pod-1"])["pod-1"].report.progress.step == 2, "it is kept all the same"


async def test_nothing_is_kept_of_a_pod_that_is_gone(reports, launcher):
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await change(reports)
    reports.forget("pod-1")
    await asyncio.sleep(0)
    kept = (reports._tasks, reports._now, reports._latest, reports._unanswered, reports._in_vain)
    assert not any(kept)


async def test_a_pod_that_leaves_is_asked_at_once_and_soon_again(reports, launcher):
    reports.intervals["pod-1"] = 3600
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await change(reports)
    before = launcher.asked
    reports.hurry("pod-2")
    reports.intervals["pod-1"] = 0.01
    reports.hurry("pod-1")
    await launcher.was_asked(before + 3)


async def test_a_job_that_is_done_is_asked_no_more(reports, launcher):
    reports.follow("pod-1", "127.0.0.1", "job-1")
    await change(reports)
    reports.intervals.clear()
    task = reports._tasks["pod-1"]
    await asyncio.wait_for(task, 60)
    assert reports.of(["pod-1"]), "what was said last is kept"
    reports.forget("pod-1")
    assert not reports.of(["pod-1"])
