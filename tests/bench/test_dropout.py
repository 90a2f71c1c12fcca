"""`make bench`: what dropout by sample costs a step."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.timeout(600)
def test_the_figures_are_printed():
    script = pathlib.Path(__file__).with_name("dropout.py")
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
