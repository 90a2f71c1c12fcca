"""`make bench`: the recovery benchmark prints its figures beside the bars."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.timeout(1200)
def test_the_time_to_come_back_is_measured_beside_torchrun():
    script = pathlib.Path(__file__).with_name("recovery.py")
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
