"""`make bench`: the benchmarks of many launchers and of large plans print their figures beside the bars."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["launchers.py", "planning.py"])
def test_what_many_workers_cost_the_operator_is_measured(name):
    script = pathlib.Path(__file__).with_name(name)
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
