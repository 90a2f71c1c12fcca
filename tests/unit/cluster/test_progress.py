"""What a log shows of the steps."""

import io
import re

import pytest
from rich.console import Console

from dtj_cluster import progress


@pytest.fixture
def lines():
    class Lines(io.StringIO):
        def read_all(self):
            return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in self.getvalue().splitlines()]

    return Lines()


def test_without_a_terminal_a_step_is_a_line_at_its_begin_and_one_at_its_end(lines):
    display = progress.Display(Console(file=lines))

    with display.step("make [it]") as step:
        assert lines.read_all() == ["make [it]"]
        step.detail = "3 of 3"

    begin, end = lines.read_all()
    assert begin == "make [it]"
    assert re.fullmatch(r"make \[it\] \(3 of 3\): done in \d\.\d s", end)


def test_a_step_that_raises_is_called_failed(lines):
    display = progress.Display(Console(file=lines))

    with pytest.raises(ValueError, match="no"), display.step("make it"):
        raise ValueError("no")

    assert lines.read_all()[-1].startswith("make it: failed after ")


def test_steps_inside_each_other_share_one_terminal(lines):
    display = progress.Display(Console(file=lines, force_terminal=True, width=200))

    with display.step("outer"), display.step("inner"):
        pass

    text = lines.getvalue()
    assert "inner: done in" in text
    assert "outer: done in" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (485, "8 min 05 s")],
)
def test_spans_are_written_as_people_read_them(seconds, text):
    assert progress.span(seconds) == text
