"""`make bench`: the NER example reaches its score with every seed."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.timeout(7200)
def test_the_example_reaches_its_score():
    script = pathlib.Path(__file__).with_name("ner_f1.py")
    assert subprocess.run([sys.executable, str(script)], check=False).returncode == 0
