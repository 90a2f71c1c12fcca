"""`make bench`: the recovery benchmark meets its bars."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.timeout(1200)
def test_a_killed_rank_is_back_in_time():
    script = pathlib.Path(__file__).with_name("recovery.py")
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
