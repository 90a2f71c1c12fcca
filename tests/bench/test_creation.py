"""`make bench`: the creation benchmarks print their figures beside the bars."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["creation.py", "many_jobs.py"])
def test_the_time_to_create_pods_is_measured_beside_a_raw_client(name):
    script = pathlib.Path(__file__).with_name(name)
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
