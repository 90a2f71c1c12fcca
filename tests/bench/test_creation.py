"""`make bench`: the creation benchmarks meet their bars."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["creation.py", "many_jobs.py"])
def test_pods_are_created_about_as_fast_as_a_raw_client_does(name):
    script = pathlib.Path(__file__).with_name(name)
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
