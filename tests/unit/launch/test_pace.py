"""What each rank itself takes for a step: the slow one shows, and not those that wait for it."""

import contextlib
import re
import sys
import time
import urllib.request

import pytest
import torch

import dtj
from dtj.pace import Pace
from dtj.pace import pace as of_this_process
from dtj_api.wire import Pace as Told
from dtj_trainer.launch.progress.paces import FEWEST, KEPT, LEAST, Paces
from dtj_trainer.launch.progress.stall import Timeout
from dtj_trainer.launch.progress.training import Training

HOOKS = sys.modules["torch.optim.optimizer"]
OWN = re.compile(r'^dtj_train_own_step_seconds\{job_name="[^"]+",rank="(\d+)"\} (\S+)$', re.M)


def own_seconds(job) -> dict[int, float]:
    found: dict[int, float] = {}
    for worker in job.workers:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{worker.metrics_port}/metrics", timeout=5) as page,
        ):
            found |= {int(rank): float(value) for rank, value in OWN.findall(page.read().decode())}
    return found


def test_the_slow_rank_shows_though_all_ranks_step_together(start):
    job = start(3, "one_is_slow.py")

    found = job.wait("paces of all ranks", lambda: len(told := own_seconds(job)) == 3 and told)

    # Two micro-batches of 200 ms, against two of 10 ms and what a busy machine adds.
    assert found[1] > 0.4
    assert max(found[0], found[2]) < 0.7 * found[1]
    assert not any(report.reports for report in job.reports()), "the script has told nothing itself"


def test_a_pace_is_told_after_enough_steps_and_some_time():
    paces = Paces()
    for second in range(FEWEST):
        paces.take(0, 1.0, second)
        paces.take(1, 2.0, second)
    assert paces.known({0: 4, 1: 5}, LEAST - 0.1) == ()
    assert paces.known({0: 4, 1: 5}, LEAST) == (Told(4, 1.0), Told(5, 2.0))
    for second in range(KEPT):
        paces.take(0, 3.0, 10 + second)
    assert paces.known({0: 4, 1: 5}, 100) == (Told(4, 3.0), Told(5, 2.0)), "the last minute counts"
    paces.begin_round()
    assert paces.known({0: 4, 1: 5}, 200) == (), "other processes, maybe elsewhere"


def test_what_the_ranks_of_an_earlier_round_took_is_past(monkeypatch):
    monkeypatch.setattr("dtj_trainer.launch.progress.paces.LEAST", 0.0)
    training = Training(Timeout())
    training.begin_round({0: 7})
    for _ in range(FEWEST):
        training.take(0, {"type": "pace", "seconds": 0.5})
    training.take(0, {"type": "pace", "seconds": "nan"})
    training.take(0, {"type": "pace"})
    assert training.paces() == (Told(7, 0.5),)
    training.begin_round({0: 3})
    assert training.paces() == ()


def test_one_slow_step_changes_no_pace():
    paces = Paces()
    for second in range(30):
        paces.take(0, 60.0 if second == 7 else 1.0, second)
    assert paces.known({0: 0}, 30) == (Told(0, 1.0),)


@pytest.fixture
def pace():
    return Pace()


@pytest.fixture
def told(monkeypatch, pace):
    """The messages of a pace of its own, at every step."""
    messages = []
    monkeypatch.setattr("dtj.pace.link.send", messages.append)
    monkeypatch.setattr("dtj.pace.EVERY", 0.0)
    handles = []
    for name in ("register_optimizer_step_pre_hook", "register_optimizer_step_post_hook"):
        register = getattr(HOOKS, name)
        monkeypatch.setattr(HOOKS, name, lambda hook, register=register: handles.append(register(hook)))
    pace.watch()
    yield messages
    for handle in handles:
        handle.remove()


def step(model, optimizer):
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()


def test_only_the_parameter_whose_gradient_comes_last_keeps_a_hook(told):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        step(model, optimizer)
    kept = [name for name, each in model.named_parameters() if each._post_accumulate_grad_hooks]
    assert len(kept) == 1
    assert kept[0].startswith("0.")
    assert len(told) == 2, "the first step meets the optimizer, the second one learns"


def test_an_optimizer_without_gradients_is_never_timed(told):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    for _ in range(4):
        optimizer.step()
    assert told == []


def test_a_phase_is_no_part_of_a_step(told, monkeypatch):
    skipped = []
    monkeypatch.setattr(of_this_process, "skip", lambda: skipped.append(1))
    with dtj.phase("train"):
        pass
    assert skipped == []
    with dtj.phase("evaluate"):
        pass
    assert skipped == [1]


def test_the_step_around_a_phase_is_not_told(told, pace):
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        step(model, optimizer)
    before = len(told)
    pace.skip()
    step(model, optimizer)
    assert len(told) == before
    step(model, optimizer)
    assert len(told) == before + 1


def test_the_wait_for_an_agreement_on_a_save_is_not_the_ranks_own_time(told, pace, monkeypatch):
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        step(model, optimizer)
    monkeypatch.setattr("dtj.saving.pace", pace)
    monkeypatch.setattr("dtj.saving.agreement.of", lambda values, waits: time.sleep(0.3) or values)
    dtj.should_save()
    step(model, optimizer)
    assert told[-1]["seconds"] < 0.2


def test_a_torch_without_such_hooks_is_left_alone(monkeypatch):
    monkeypatch.delattr(HOOKS, "register_optimizer_step_pre_hook")
    Pace().watch()
    monkeypatch.delitem(sys.modules, "torch.optim.optimizer")
    Pace().watch()
