"""The hooks that time a rank are in every script, unasked: none of them reaches the script."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.utils import counters

from dtj.pace import Pace

HOOKS = sys.modules["torch.optim.optimizer"]


@pytest.fixture
def watched(monkeypatch):
    """A function that has a pace of its own watch every optimizer, and what it tells."""
    told, handles = [], []
    monkeypatch.setattr("dtj.pace.link.send", told.append)
    monkeypatch.setattr("dtj.pace.EVERY", 0.0)
    for name in ("register_optimizer_step_pre_hook", "register_optimizer_step_post_hook"):
        register = getattr(HOOKS, name)
        monkeypatch.setattr(HOOKS, name, lambda hook, register=register: handles.append(register(hook)))

    def watch():
        pace = Pace()
        pace.watch()
        return pace, told

    yield watch
    for handle in handles:
        handle.remove()


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()


def a_model():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize("broken", ["_learn", "_learned", "_note", "_mark", "_collect"])
def test_whatever_goes_wrong_in_a_hook_ends_the_timing_alone(watched, monkeypatch, broken):
    pace, told = watched()

    def fail(*_):
        raise RuntimeError("events of two devices")

    monkeypatch.setattr(pace, broken, fail)
    model, optimizer = a_model()
    before = model[0].weight.clone()
    for _ in range(5):
        step(model, optimizer)
    assert not torch.equal(model[0].weight, before)
    assert told == []


def test_parameters_that_are_no_leaves_have_no_hooks(watched):
    """As of a differentiable optimizer, whose parameters are results themselves."""
    _, told = watched()
    leaf = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([leaf], lr=0.1)
    for _ in range(4):
        result = leaf * 2
        result.retain_grad()
        result.sum().backward()
        optimizer.param_groups[0]["params"] = [result]
        optimizer.step()
        assert result.tolist() == pytest.approx([1.9] * 3)
    assert told == []


def test_parameters_on_two_devices_are_not_timed(watched):
    """Events of two GPUs cannot be compared, and CUDA says so by an error."""
    pace, told = watched()
    parameters = [torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1, device="meta"))]
    optimizer = torch.optim.SGD([{"params": [each]} for each in parameters], lr=0.1)
    parameters[0].sum().backward()
    for _ in range(4):
        optimizer.step()
    assert pace._gave_up
    assert told == []
    assert all(each._post_accumulate_grad_hooks is None for each in parameters)


class Cuda:
    """torch.cuda as a step is captured into a graph: events must neither be recorded nor asked."""

    def __init__(self):
        self.captures, self.asked = False, 0

    def is_current_stream_capturing(self):
        return self.captures

    def current_stream(self, device):
        assert device == "cuda:1", "of the parameters, and not the current one"
        return device

    def Event(self, enable_timing):
        def use(*_):
            assert not self.captures, "cudaErrorStreamCaptureUnsupported"
            self.asked += 1
            return True

        return SimpleNamespace(record=use, query=use, elapsed_time=lambda _: 5.0)


def test_a_step_that_is_captured_into_a_graph_is_left_alone(watched, monkeypatch):
    pace, told = watched()
    model, optimizer = a_model()
    cuda = Cuda()
    step(model, optimizer)
    monkeypatch.setattr(pace, "_gpu", "cuda:1")
    for name in ("is_current_stream_capturing", "current_stream", "Event"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    for _ in range(3):
        step(model, optimizer)
    assert told
    asked, cuda.captures = cuda.asked, True
    for _ in range(3):
        step(model, optimizer)
    assert cuda.asked == asked
    assert not pace._gave_up
    cuda.captures = False
    for _ in range(3):
        step(model, optimizer)
    assert cuda.asked > asked


def compiled(step_alone):
    """Breaks of the graph, and graphs, of a step that torch compiles."""
    torch._dynamo.reset()
    counters.clear()
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.1))

    def update():
        optimizer.step()

    def whole(inputs):
        model(inputs).sum().backward()
        optimizer.step()

    act = torch.compile(update if step_alone else whole, backend="eager")
    for _ in range(3):
        if step_alone:
            model(torch.ones(2, 4)).sum().backward()
            act()
        else:
            act(torch.ones(2, 4))
        optimizer.zero_grad()
    return dict(counters["graph_break"]), counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("step_alone", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_a_compiler_does_not_see_them(watched, step_alone):
    breaks, graphs = compiled(step_alone)
    watched()
    again, as_many = compiled(step_alone)
    assert set(again) == set(breaks)
    assert as_many == graphs
    assert not any("dtj" in text or "time" in text.splitlines()[0] for text in again)
